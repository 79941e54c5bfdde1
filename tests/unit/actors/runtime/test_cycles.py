"""Actors that wait for each other in a cycle get an error, and no others do."""

import asyncio

import pytest

from actors import (
    ActorRef,
    ActorSystem,
    AskCycle,
    AskTimeout,
    Lifecycle,
    MailboxFull,
    Reply,
)
from actors.testing import ManualClock, settle
from tests.support.kit import Bare, Do, Worker, for_ever, wait_for


def asking(*others: ActorRef[Do]) -> Do:
    """Return a message whose handler asks the first of `others` to ask the next, and so on."""

    async def ask(worker: Worker) -> None:
        await others[0].ask(lambda reply: answering(reply, *others[1:]), timeout=60.0)

    return ask


def answering(reply: Reply[None], *others: ActorRef[Do]) -> Do:
    """Return a question that is answered once `others` have, or fails with their AskCycle."""

    async def answer(worker: Worker) -> None:
        try:
            if others:
                await asking(*others)(worker)  # type: ignore[misc]  # it is a coroutine function
        except AskCycle as cycle:
            reply.fail(cycle)
        else:
            reply.send(None)

    return answer


async def ask(ref: ActorRef[Do], *others: ActorRef[Do]) -> None:
    await ref.ask(lambda reply: answering(reply, *others), timeout=60.0)


@pytest.mark.parametrize("length", [1, 2, 3, 10])
async def test_a_circle_of_questions_is_an_error_at_once(
    actor_system: ActorSystem, manual_clock: ManualClock, length: int
) -> None:
    refs = [actor_system.spawn(Bare, name=str(index)) for index in range(length)]
    with pytest.raises(AskCycle) as raised:
        await ask(*refs, refs[0])
    assert manual_clock.now() == 0.0
    paths = [*(f"system/{index}" for index in range(length)), "system/0"]
    last = length - 1  # the actor that would have closed the cycle
    assert str(raised.value) == " -> ".join([*paths[last:-1], *paths[: last + 1]])


async def test_a_chain_is_no_circle(actor_system: ActorSystem) -> None:
    refs = [actor_system.spawn(Bare) for _ in range(10)]
    await ask(*refs)
    await ask(*reversed(refs))
    await asyncio.gather(*(ask(ref, refs[-1]) for ref in refs[:-1]))


async def test_an_ask_that_was_put_aside_closes_no_cycle(actor_system: ActorSystem) -> None:
    """B puts A's question aside and then asks A, and neither gets an error."""
    a, b = actor_system.spawn(Bare, name="a"), actor_system.spawn(Bare, name="b")
    kept: list[Reply[None]] = []

    def keep(reply: Reply[None]) -> Do:
        return lambda worker: kept.append(reply)

    async def ask_and_wait(worker: Worker) -> None:
        await b.ask(keep, timeout=60.0)

    a.tell(ask_and_wait)
    await settle()
    b.tell(asking(a))
    await settle()
    kept[0].send(None)
    await settle()
    assert actor_system.statistics().tasks == 0
    assert actor_system.snapshot().tally.crashed == 0


async def test_a_question_from_a_task_of_the_handlers_own_ends_at_its_deadline(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    a, b = actor_system.spawn(Bare), actor_system.spawn(Bare)
    errors: list[BaseException | None] = []

    async def ask_back(worker: Worker) -> None:
        results = await asyncio.gather(ask(a), return_exceptions=True)
        errors.extend(results)

    async def begin(worker: Worker) -> None:
        def question(reply: Reply[None]) -> Do:
            async def answer(worker: Worker) -> None:
                await ask_back(worker)
                reply.send(None)

            return answer

        await b.ask(question, timeout=100.0)

    a.tell(begin)
    await manual_clock.advance(61.0)
    assert [type(error) for error in errors] == [AskTimeout]


async def test_a_circle_of_full_mailboxes_gives_one_message_back(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    small = Lifecycle(capacity=1)
    a = actor_system.spawn(Bare, lifecycle=small)
    b = actor_system.spawn(Bare, lifecycle=small)
    given_back: list[object] = []
    gate = asyncio.Event()

    def nothing(worker: Worker) -> None:
        return None

    def sending(other: ActorRef[Do]) -> Do:
        async def send(worker: Worker) -> None:
            await gate.wait()
            try:
                await other.send(nothing)
            except MailboxFull as full:
                given_back.append(full.undelivered)

        return send

    for one, other in ((a, b), (b, a)):
        one.tell(sending(other))
        await settle()
        one.tell(nothing)
    gate.set()
    await settle()
    assert given_back == [nothing]
    assert actor_system.statistics().tasks == 0


async def test_an_actor_may_wait_for_room(actor_system: ActorSystem) -> None:
    gate = asyncio.Event()
    a = actor_system.spawn(Bare)
    b = actor_system.spawn(Bare, lifecycle=Lifecycle(capacity=1))
    sent: list[str] = []

    async def send(worker: Worker) -> None:
        await b.send(lambda worker: sent.append("handled"))
        sent.append("sent")

    b.tell(wait_for(gate))
    await settle()
    b.tell(lambda worker: None)
    a.tell(send)
    await settle()
    assert sent == []
    gate.set()
    await settle()
    assert sorted(sent) == ["handled", "sent"]
    a.tell(for_ever)
    await settle()
    a.kill()
