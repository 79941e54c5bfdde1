import asyncio

import pytest

from actors import (
    ActorSystem,
    AskDropped,
    DeadLetter,
    Event,
    Lifecycle,
    Mailbox,
    MailboxFull,
    NotRunning,
    Overflow,
)
from actors.runtime.mailbox import MailboxStatistics
from actors.testing import ManualClock, settle
from tests.support.kit import Bare, Worker, for_ever, note, wait_for


def filled(capacity: int, overflow: Overflow) -> Mailbox[str]:
    """Return a mailbox that is filled to its capacity with "0", "1" and so on."""
    mailbox: Mailbox[str] = Mailbox(capacity, overflow)
    for index in range(mailbox.capacity):
        assert mailbox.offer(str(index)) is None
    return mailbox


def numbers(first: int, mailbox: Mailbox[str]) -> list[str]:
    """Return the messages of a mailbox from `filled` without those before number `first`."""
    return [str(index) for index in range(first, mailbox.capacity)]


def take_all(mailbox: Mailbox[str]) -> list[str]:
    return [mailbox.take() for _ in range(len(mailbox))]


def test_a_mailbox_is_bounded() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Mailbox[str](0, Overflow.WAIT)


@pytest.mark.parametrize("capacity", [1, 3])
def test_messages_leave_in_order(capacity: int) -> None:
    mailbox = filled(capacity, Overflow.REFUSE)
    assert mailbox.full
    assert len(mailbox) == mailbox.capacity
    assert take_all(mailbox) == numbers(0, mailbox)
    assert not mailbox.full


@pytest.mark.parametrize("overflow", [Overflow.WAIT, Overflow.REFUSE])
def test_a_full_mailbox_refuses_what_does_not_wait(overflow: Overflow) -> None:
    mailbox = filled(2, overflow)
    with pytest.raises(asyncio.QueueFull):
        mailbox.offer("more")
    assert take_all(mailbox) == numbers(0, mailbox)
    assert mailbox.dropped == 0


def test_drop_oldest_takes_the_new_one() -> None:
    mailbox = filled(2, Overflow.DROP_OLDEST)
    assert mailbox.offer("more") == "0"
    assert take_all(mailbox) == [*numbers(1, mailbox), "more"]
    assert mailbox.dropped == 1


def test_drop_newest_keeps_what_it_has() -> None:
    mailbox = filled(2, Overflow.DROP_NEWEST)
    assert mailbox.offer("more") == "more"
    assert take_all(mailbox) == numbers(0, mailbox)
    assert mailbox.dropped == 1


async def test_senders_are_served_in_order() -> None:
    mailbox = filled(1, Overflow.WAIT)
    served: list[str] = []

    async def send(message: str) -> None:
        await mailbox.wait(message)
        served.append(message)

    senders = [asyncio.create_task(send(message)) for message in "abc"]
    await settle()
    assert mailbox.waiting == 3
    taken = []
    for _ in range(4):
        taken.append(mailbox.take())
        await settle()
    assert taken == ["0", "a", "b", "c"]
    assert served == ["a", "b", "c"]
    assert mailbox.waiting == 0
    await asyncio.gather(*senders)


async def test_a_cancelled_sender_is_withdrawn() -> None:
    mailbox = filled(1, Overflow.WAIT)
    first, second = (asyncio.create_task(mailbox.wait(message)) for message in "ab")
    await settle()
    first.cancel()
    await settle()
    assert mailbox.waiting == 1
    assert mailbox.take() == "0"
    assert mailbox.take() == "b"
    await second


async def test_a_cancelled_sender_does_not_take_another_with_the_same_message_along() -> None:
    mailbox = filled(1, Overflow.WAIT)
    first, second = (asyncio.create_task(mailbox.wait("same")) for _ in range(2))
    await settle()
    second.cancel()
    await settle()
    assert mailbox.take() == "0"
    await settle()
    assert first.done()
    assert take_all(mailbox) == ["same"]


async def test_a_sender_cancelled_in_the_moment_of_its_turn_gives_it_to_the_next() -> None:
    mailbox = filled(1, Overflow.WAIT)
    first, second = (asyncio.create_task(mailbox.wait(message)) for message in "ab")
    await settle()
    first.cancel()  # it is still in line, and must be skipped
    assert mailbox.take() == "0"
    await settle()
    assert second.done()
    assert take_all(mailbox) == ["b"]


async def test_withdrawing_what_is_not_in_line_is_harmless() -> None:
    mailbox = filled(1, Overflow.WAIT)
    mailbox.withdraw("stranger")
    mailbox.queue_up("a", None)
    mailbox.withdraw("stranger")
    assert mailbox.waiting == 1


async def test_closing_refuses_senders_and_returns_the_rest_in_order() -> None:
    mailbox = filled(2, Overflow.WAIT)
    sender = asyncio.create_task(mailbox.wait("a"))
    gone = asyncio.create_task(mailbox.wait("b"))
    await settle()
    mailbox.queue_up("c", None)
    gone.cancel()
    left = mailbox.close(lambda message: NotRunning("here", message))
    assert left == [*numbers(0, mailbox), "c"]
    await settle()
    with pytest.raises(NotRunning) as refused:
        await sender
    assert refused.value.undelivered == "a"
    assert gone.cancelled()
    assert len(mailbox) == mailbox.waiting == 0


# -- the policies, through refs --------------------------------------------------------------------


async def busy_worker(
    system: ActorSystem, overflow: Overflow, capacity: int = 1
) -> tuple[Worker, asyncio.Event]:
    """Return a worker that waits for the gate, with a full mailbox, and the gate."""
    worker, gate = Worker(), asyncio.Event()
    ref = system.spawn(
        lambda: worker, name="w", lifecycle=Lifecycle(capacity=capacity, overflow=overflow)
    )
    ref.tell(wait_for(gate))
    await settle()
    for index in range(ref.statistics().capacity):
        ref.tell(note(worker.log, f"filled {index}"))
    worker.log.clear()
    return worker, gate


async def test_wait_serves_senders_before_those_that_come_later(
    actor_system: ActorSystem,
) -> None:
    worker, gate = await busy_worker(actor_system, Overflow.WAIT)
    ref = worker.context.ref
    senders = [asyncio.create_task(ref.send(note(worker.log, str(index)))) for index in range(3)]
    await settle()
    with pytest.raises(MailboxFull):
        ref.tell(note(worker.log, "told"))
    gate.set()
    await asyncio.gather(*senders)
    await ref.send(note(worker.log, "later"))
    await settle()
    assert worker.log == ["filled 0", "0", "1", "2", "later"]


async def test_refuse_gives_the_message_back(actor_system: ActorSystem) -> None:
    worker, gate = await busy_worker(actor_system, Overflow.REFUSE)
    message = note(worker.log, "more")
    with pytest.raises(MailboxFull) as told:
        worker.context.ref.tell(message)
    assert told.value.undelivered is message
    with pytest.raises(MailboxFull):
        await worker.context.ref.send(message)
    with pytest.raises(MailboxFull):
        await worker.context.ref.ask(lambda reply: message, timeout=1.0)
    gate.set()
    await settle()
    assert worker.log == ["filled 0"]
    assert actor_system.dead_letters == 0


async def test_drop_oldest_makes_the_oldest_a_dead_letter(
    actor_system: ActorSystem, actor_events: list[Event]
) -> None:
    worker, gate = await busy_worker(actor_system, Overflow.DROP_OLDEST, capacity=2)
    worker.context.ref.tell(note(worker.log, "more"))
    gate.set()
    await settle()
    filled = worker.context.ref.statistics().capacity
    assert worker.log == [*(f"filled {index}" for index in range(1, filled)), "more"]
    assert actor_system.dead_letters == 1
    assert DeadLetter("system/w", "function") in actor_events


async def test_drop_newest_makes_the_new_one_a_dead_letter(actor_system: ActorSystem) -> None:
    worker, gate = await busy_worker(actor_system, Overflow.DROP_NEWEST, capacity=2)
    worker.context.ref.tell(note(worker.log, "more"))
    gate.set()
    await settle()
    filled = worker.context.ref.statistics().capacity
    assert worker.log == [f"filled {index}" for index in range(filled)]
    assert actor_system.dead_letters == 1


async def test_a_dropped_question_fails_at_once(actor_system: ActorSystem) -> None:
    worker, gate = await busy_worker(actor_system, Overflow.DROP_NEWEST)
    with pytest.raises(AskDropped):
        await worker.context.ref.ask(lambda reply: for_ever, timeout=1.0)
    gate.set()


async def test_a_bound_of_one_passes_everything_in_order(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    worker = Worker()
    ref = actor_system.spawn(lambda: worker, lifecycle=Lifecycle(capacity=1))
    await settle()
    worker.log.clear()

    async def send(sender: int) -> None:
        for index in range(50):
            await ref.send(note(worker.log, f"{sender}.{index}"))

    await manual_clock.until(asyncio.gather(*(send(sender) for sender in range(4))))
    await settle()
    for sender in range(4):
        mine = [line for line in worker.log if line.startswith(f"{sender}.")]
        assert mine == [f"{sender}.{index}" for index in range(50)]


async def test_senders_in_line_are_refused_when_the_actor_stops(
    actor_system: ActorSystem,
) -> None:
    worker, gate = await busy_worker(actor_system, Overflow.WAIT)
    sender = asyncio.create_task(worker.context.ref.send(note(worker.log, "x")))
    await settle()
    worker.context.ref.stop()
    with pytest.raises(NotRunning):
        await sender
    gate.set()


async def test_send_to_an_actor_that_has_ended_raises(actor_system: ActorSystem) -> None:
    ref = actor_system.spawn(Worker)
    ref.stop()
    await ref.join()
    with pytest.raises(NotRunning):
        await ref.send(for_ever)


def test_the_statistics_of_a_mailbox() -> None:
    mailbox = filled(2, Overflow.DROP_NEWEST)
    capacity = mailbox.capacity
    mailbox.offer("more")
    assert mailbox.statistics() == MailboxStatistics(capacity, capacity, 0, 1)
    mailbox.take()
    assert mailbox.statistics() == MailboxStatistics(capacity - 1, capacity, 0, 1)


async def test_a_sender_that_is_cancelled_in_line_frees_its_place_even_as_the_last() -> None:
    mailbox = filled(1, Overflow.WAIT)
    only = asyncio.create_task(mailbox.wait("a"))
    await settle()
    only.cancel()
    assert mailbox.take() == "0"
    assert mailbox.waiting == 0
    mailbox.queue_up("b", None)
    mailbox.queue_up("c", None)
    assert mailbox.line
    mailbox.admit(mailbox.line)
    assert [mailbox.take(), mailbox.take()] == ["b", "c"]
    await asyncio.gather(only, return_exceptions=True)


async def test_a_plain_function_makes_room_for_a_waiting_sender(actor_system: ActorSystem) -> None:
    log: list[str] = []
    ref = actor_system.spawn(Bare, lifecycle=Lifecycle(capacity=1))
    sending = asyncio.create_task(ref.send(note(log, "second")))
    ref.tell(note(log, "first"))
    await asyncio.sleep(0)
    await settle()
    assert sending.done()
    assert log == ["first", "second"]
