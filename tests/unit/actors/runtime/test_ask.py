import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import pytest

from actors import (
    Actor,
    ActorRef,
    ActorSystem,
    AskCrashed,
    AskDropped,
    AskTimeout,
    Lifecycle,
    MailboxFull,
    NotRunning,
    Overflow,
    Question,
    Reply,
)
from actors.runtime.deadlines import TICK
from actors.testing import ManualClock, settle
from tests.support.kit import (
    PERMANENT,
    TEMPORARY,
    Bare,
    Boom,
    Do,
    Worker,
    boom,
    for_ever,
    note,
    wait_for,
)

Asking: TypeAlias = Callable[[Reply[int]], Do]


def answer(value: int) -> Asking:
    """Return a question that is answered with `value`."""
    return lambda reply: lambda worker: reply.send(value)


class Keep:
    """A question whose answer comes later: the replies are kept."""

    def __init__(self) -> None:
        self.replies: list[Reply[int]] = []

    def __call__(self, reply: Reply[int]) -> Do:
        return lambda worker: self.replies.append(reply)


def asking(do: Do) -> Asking:
    """Return a question that makes the actor do `do`."""
    return lambda reply: do


def ask(ref: ActorRef[Do], question: Asking, timeout: float = 10.0) -> "asyncio.Task[int]":
    return asyncio.create_task(ref.ask(question, timeout=timeout))


async def test_the_answer_comes_back(actor_system: ActorSystem, manual_clock: ManualClock) -> None:
    ref = actor_system.spawn(Bare)
    assert await ref.ask(answer(7), timeout=1.0) == 7
    assert len(actor_system.deadlines) == 0


async def test_many_ask_at_once(actor_system: ActorSystem) -> None:
    ref = actor_system.spawn(Bare)
    assert await asyncio.gather(*(ask(ref, answer(n)) for n in range(100))) == [*range(100)]


async def test_an_answer_may_come_later(actor_system: ActorSystem) -> None:
    keep, log = Keep(), list[str]()
    ref = actor_system.spawn(Bare)
    question = ask(ref, keep)
    ref.tell(note(log, "others go on"))
    await settle()
    assert log == ["others go on"]
    assert not keep.replies[0].done
    keep.replies[0].send(1)
    keep.replies[0].send(2)
    keep.replies[0].fail(Boom())
    assert await question == 1
    assert keep.replies[0].done


async def test_an_answer_may_be_an_error(actor_system: ActorSystem) -> None:
    keep = Keep()
    question = ask(actor_system.spawn(Bare), keep)
    await settle()
    keep.replies[0].fail(Boom())
    with pytest.raises(Boom):
        await question


async def test_a_question_times_out(actor_system: ActorSystem, manual_clock: ManualClock) -> None:
    keep = Keep()
    question = ask(actor_system.spawn(Bare), keep, timeout=2.0)
    await manual_clock.advance(2.0)
    assert not question.done()
    await manual_clock.advance(1.5 * TICK)
    with pytest.raises(AskTimeout):
        await question
    keep.replies[0].send(1)  # too late, and harmless


async def test_a_crash_is_told_at_once_with_its_cause(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    ref = actor_system.spawn(Bare, lifecycle=PERMANENT)
    with pytest.raises(AskCrashed) as crashed:
        await ref.ask(asking(boom), timeout=10.0)
    assert isinstance(crashed.value.__cause__, Boom)
    assert manual_clock.now() == 0.0


async def test_a_crash_fails_the_questions_put_off_too_but_none_that_waits(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    keep, handled = Keep(), list[str]()
    ref = actor_system.spawn(Bare, lifecycle=PERMANENT)
    put_off = [ask(ref, keep) for _ in range(2)]
    await settle()
    ref.tell(note(handled, "x"))
    await ref.send(boom)
    waiting = ask(ref, answer(3))
    await settle()
    errors = await asyncio.gather(*put_off, return_exceptions=True)
    assert [type(error) for error in errors] == [AskCrashed, AskCrashed]
    assert errors[0] is not errors[1]
    assert not waiting.done()
    assert await manual_clock.until(waiting) == 3


async def test_an_answer_given_before_the_crash_counts(actor_system: ActorSystem) -> None:
    def answer_and_crash(reply: Reply[int]) -> Do:
        def do(worker: Worker) -> None:
            reply.send(5)
            raise Boom

        return do

    ref = actor_system.spawn(Bare, lifecycle=TEMPORARY)
    assert await ref.ask(answer_and_crash, timeout=1.0) == 5


async def test_a_stop_fails_what_waits_in_the_mailbox_at_once(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    gate = asyncio.Event()
    ref = actor_system.spawn(Bare)
    ref.tell(wait_for(gate))
    question = ask(ref, answer(1))
    await settle()
    ref.stop()
    with pytest.raises(AskDropped):
        await question
    assert manual_clock.now() == 0.0
    gate.set()


async def test_a_stop_fails_what_was_put_off(actor_system: ActorSystem) -> None:
    keep = Keep()
    ref = actor_system.spawn(Bare)
    question = ask(ref, keep)
    await settle()
    ref.stop()
    with pytest.raises(AskDropped):
        await question


async def test_what_is_in_hand_at_the_stop_may_be_answered(actor_system: ActorSystem) -> None:
    gate = asyncio.Event()

    def answer_later(reply: Reply[int]) -> Do:
        async def do(worker: Worker) -> None:
            await gate.wait()
            reply.send(9)

        return do

    ref = actor_system.spawn(Bare)
    question = ask(ref, answer_later)
    await settle()
    ref.stop()
    gate.set()
    assert await question == 9


async def test_an_actor_that_has_ended_cannot_be_asked(actor_system: ActorSystem) -> None:
    ref = actor_system.spawn(Bare)
    ref.stop()
    with pytest.raises(NotRunning):
        await ref.ask(answer(1), timeout=1.0)
    assert len(actor_system.deadlines) == 0


async def test_a_question_waits_in_line_for_room(actor_system: ActorSystem) -> None:
    gate = asyncio.Event()
    ref = actor_system.spawn(Bare, lifecycle=Lifecycle(capacity=1))
    ref.tell(wait_for(gate))
    await settle()
    questions = [ask(ref, answer(n)) for n in range(5)]
    await settle()
    assert actor_system.snapshot().children[0].mailbox == 1
    gate.set()
    assert await asyncio.gather(*questions) == [0, 1, 2, 3, 4]


async def test_a_question_that_times_out_in_line_is_withdrawn(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    gate, log = asyncio.Event(), list[str]()
    ref = actor_system.spawn(Bare, lifecycle=Lifecycle(capacity=1))
    ref.tell(wait_for(gate))
    await settle()
    ref.tell(note(log, "room"))
    question = ask(ref, asking(note(log, "asked")), timeout=1.0)
    later = asyncio.create_task(ref.send(note(log, "later")))
    await manual_clock.advance(2.0)
    with pytest.raises(AskTimeout):
        await question
    gate.set()
    await later
    await settle()
    assert log == ["room", "later"]


async def test_a_question_in_line_is_dropped_by_a_stop(actor_system: ActorSystem) -> None:
    gate, log = asyncio.Event(), list[str]()
    ref = actor_system.spawn(Bare, lifecycle=Lifecycle(capacity=1))
    ref.tell(wait_for(gate))
    await settle()
    ref.tell(note(log, "room"))
    question = ask(ref, answer(1))
    await settle()
    ref.stop()
    with pytest.raises(AskDropped):
        await question
    gate.set()


async def test_a_question_that_is_displaced_is_dropped(actor_system: ActorSystem) -> None:
    gate = asyncio.Event()
    lifecycle = Lifecycle(capacity=1, overflow=Overflow.DROP_OLDEST)
    ref = actor_system.spawn(Bare, lifecycle=lifecycle)
    ref.tell(wait_for(gate))
    await settle()
    first, second = ask(ref, answer(1)), ask(ref, answer(2))
    gate.set()
    with pytest.raises(AskDropped):
        await first
    assert await second == 2


async def test_a_refused_question_says_so(actor_system: ActorSystem) -> None:
    gate = asyncio.Event()
    lifecycle = Lifecycle(capacity=1, overflow=Overflow.REFUSE)
    ref = actor_system.spawn(Bare, lifecycle=lifecycle)
    ref.tell(wait_for(gate))
    await settle()
    first = ask(ref, answer(1))
    await settle()
    with pytest.raises(MailboxFull):
        await ref.ask(answer(2), timeout=1.0)
    gate.set()
    assert await first == 1


async def test_an_asker_that_is_cancelled_leaves_nothing(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    keep = Keep()
    ref = actor_system.spawn(Bare)
    question = ask(ref, keep)
    await settle()
    question.cancel()
    await settle()
    assert question.cancelled()
    assert keep.replies[0].done
    assert len(actor_system.deadlines) == 0


async def test_a_question_that_cannot_be_made_leaves_nothing(actor_system: ActorSystem) -> None:
    kept: list[Reply[int]] = []

    def fail(reply: Reply[int]) -> Do:
        kept.append(reply)
        raise Boom

    with pytest.raises(Boom):
        await actor_system.spawn(Bare).ask(fail, timeout=1.0)
    assert len(actor_system.deadlines) == 0
    assert kept[0].done


async def test_replies_that_were_given_are_not_kept(actor_system: ActorSystem) -> None:
    keep = Keep()
    ref = actor_system.spawn(Bare)
    question = ask(ref, keep)
    for n in range(50):
        assert await ref.ask(answer(n), timeout=1.0) == n
    pending = ref._cell.incarnation.pending
    assert pending is not None
    assert len(pending) <= 2
    question.cancel()


async def test_a_kill_fails_the_question_in_hand(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    ref = actor_system.spawn(Bare)
    question = ask(ref, asking(for_ever))
    await settle()
    ref.kill()
    with pytest.raises(AskDropped):
        await question
    assert manual_clock.now() == 0.0


async def test_the_first_answer_counts(actor_system: ActorSystem) -> None:
    ref = actor_system.spawn(Bare)

    def answer_twice(reply: Reply[int]) -> Do:
        def answer(worker: Worker) -> None:
            reply.send(1)
            reply.send(2)
            reply.fail(Boom())

        return answer

    assert await ref.ask(answer_twice, timeout=1.0) == 1
    assert await ref.ask(answer_twice, timeout=1.0) == 1
    assert actor_system.snapshot().tally.crashed == 0


@dataclass
class Named(Question[int]):
    name: str


@dataclass(frozen=True, slots=True)
class Frozen(Question[str]):
    name: str


class Answering(Actor[Named | Frozen]):
    def receive(self, message: Named | Frozen) -> None:
        match message:
            case Named(name):
                message.reply.send(len(name))
            case Frozen(name):
                message.reply.send(name.upper())


async def test_a_question_brings_its_own_reply(actor_system: ActorSystem) -> None:
    ref = actor_system.spawn(Answering)
    assert await ref.ask(Named("four"), timeout=1.0) == 4
    assert await ref.ask(Frozen("four"), timeout=1.0) == "FOUR"


async def test_a_question_is_asked_once(actor_system: ActorSystem) -> None:
    ref = actor_system.spawn(Answering)
    question = Named("four")
    assert await ref.ask(question, timeout=1.0) == 4
    with pytest.raises(ValueError, match="asked before: Named"):
        await ref.ask(question, timeout=1.0)
    assert len(actor_system.deadlines) == 0


class Late(Bare):
    """Takes a question while it cleans up, and does not answer it."""

    async def stopped(self) -> None:
        await self.context.next()


async def test_a_question_that_stopped_takes_is_not_left_waiting(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    ref = actor_system.spawn(Late, lifecycle=PERMANENT)
    ref.tell(boom)
    question = ask(ref, answer(1), timeout=100.0)
    await settle()
    with pytest.raises(AskDropped, match="restarted before it answered"):
        await question
    assert manual_clock.now() < 100.0
