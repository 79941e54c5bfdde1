"""A conversation answers one message at a time, in order."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from actors import ActorRef, ActorSystem, Code, Failure, Registry, RequestActor
from actors.runtime.supervision import DEFAULT_LIFECYCLE
from actors.testing import (
    Answers,
    Calls,
    ManualClock,
    actor_events,
    actor_system,
    manual_clock,
    serving,
    settle,
)
from callboard_service.chat import turns as module
from callboard_service.chat.turns import (
    MAX_WAIT,
    MAX_WAITING,
    UNSAID,
    Clear,
    ConversationTurns,
    turn,
)

__all__ = ["actor_events", "actor_system", "manual_clock"]


class Service:
    """Requests that hold the turn in the conversation that they name, until they are released."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.holding: list[str] = []
        self.waits: dict[str, asyncio.Event] = {}
        self.later = asyncio.Event()
        self.later.set()
        self.calls: Calls
        self.made: list[ConversationTurns] = []

    def register(self, registry: Registry) -> None:
        """Register the actor and the request type, as an extension does."""
        self.registry = registry
        registry.supervise("turns", self._make, DEFAULT_LIFECYCLE)
        registry.register(StringValue, lambda: Hold(self))

    def _make(self) -> ConversationTurns:
        made = ConversationTurns()
        self.made.append(made)
        return made

    @property
    def turns(self) -> ActorRef[module.TurnMessage]:
        """Return the ref of the actor under test."""
        return self.registry.actor(ConversationTurns)

    async def ask(self, name: str) -> Answers[StringValue]:
        """Send the request NAME, such as "a1": its conversation and its number there."""
        answers = self.calls.stream(StringValue(value=name), StringValue)
        await settle()
        return answers

    async def let_go(self, name: str) -> None:
        """Let the request NAME end its turn."""
        self.waits[name].set()
        await settle()

    async def clear(self, conversation: str) -> "asyncio.Task[None]":
        """End the conversation's replies; return the task that waits until none is left."""
        clearing: asyncio.Task[None] = asyncio.ensure_future(
            self.turns.ask(lambda reply: Clear(conversation, reply), timeout=30)
        )
        await settle()
        return clearing

    def is_empty(self) -> bool:
        """Return whether no conversation has any state left."""
        turns = self.made[-1]
        return not (turns._lines or turns._places or turns._clearing)


class Hold(RequestActor[StringValue, StringValue]):
    """Holds the turn of its conversation until it is released."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def handle(self, request: StringValue) -> StringValue:
        """Hold the turn until released, and return the request as its answer."""
        service, name = self._service, request.value
        wait = service.waits[name] = asyncio.Event()
        async with turn(self.context.actor(ConversationTurns), name[0], self.context):
            service.holding.append(name)
            try:
                await wait.wait()
            finally:
                service.holding.remove(name)
        await service.later.wait()
        return request


@pytest.fixture
async def service(actor_system: ActorSystem) -> AsyncIterator[Service]:
    made = Service()
    async with serving(actor_system, made.register) as calls:
        made.calls = calls
        yield made


async def _failure(answers: Answers[StringValue]) -> Failure:
    with pytest.raises(Failure) as failure:
        await anext(answers)
    return failure.value


async def test_one_at_a_time_in_the_order_in_which_they_came(
    service: Service, manual_clock: ManualClock
) -> None:
    asked = [await service.ask(name) for name in ("a1", "a2", "b1", "a3")]
    assert service.holding == ["a1", "b1"]
    await manual_clock.advance(2 * UNSAID)
    assert [bool(answers.notices) for answers in asked] == [False, True, False, True]
    for name, next_ones in (("a1", ["b1", "a2"]), ("b1", ["a2"]), ("a2", ["a3"]), ("a3", [])):
        await service.let_go(name)
        assert service.holding == next_ones
    for answers in asked:
        await anext(answers)
    assert service.is_empty()


async def test_a_short_wait_is_not_announced(service: Service, manual_clock: ManualClock) -> None:
    _, second = [await service.ask(name) for name in ("a1", "a2")]
    await manual_clock.advance(UNSAID * 0.9)
    await service.let_go("a1")
    assert service.holding == ["a2"]
    await service.let_go("a2")
    await anext(second)
    assert not second.notices


async def test_a_request_that_ends_while_it_waits_is_skipped(service: Service) -> None:
    _, second, _ = [await service.ask(name) for name in ("a1", "a2", "a3")]
    second.cancel()
    await settle()
    assert service.holding == ["a1"]
    await service.let_go("a1")
    assert service.holding == ["a3"]
    await service.let_go("a3")
    assert service.is_empty()


async def test_a_cancelled_request_passes_its_turn_on(service: Service) -> None:
    first, _ = [await service.ask(name) for name in ("a1", "a2")]
    first.cancel()
    await settle()
    assert service.holding == ["a2"]
    await service.let_go("a2")
    assert service.is_empty()


async def test_a_turn_may_be_over_before_its_request(service: Service) -> None:
    service.later.clear()
    first = await service.ask("a1")
    await service.let_go("a1")
    second = await service.ask("a2")
    assert service.holding == ["a2"]
    assert not second.notices
    service.later.set()
    await service.let_go("a2")
    for answers in (first, second):
        await anext(answers)


async def test_a_request_that_ends_without_a_release_passes_its_turn_on(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive = ConversationTurns.receive

    def deaf(turns: ConversationTurns, message: module.TurnMessage) -> None:
        if not isinstance(message, module.Release):
            receive(turns, message)

    monkeypatch.setattr(ConversationTurns, "receive", deaf)
    for name in ("a1", "a2"):
        await service.ask(name)
    await service.let_go("a1")
    assert service.holding == ["a2"]
    await service.let_go("a2")
    assert service.is_empty()


@pytest.mark.own_bound("counts how many find room in a line")
async def test_the_queue_of_a_conversation_is_bounded(service: Service) -> None:
    for number in range(1 + MAX_WAITING):
        await service.ask(f"a{number}")
    refusals = [await _failure(await service.ask("a-one-more")) for _ in range(2)]
    for refused in refusals:
        assert (refused.code, refused.retryable) == (Code.RESOURCE_EXHAUSTED, True)
    assert refusals[0] is not refusals[1], "one object keeps every traceback"
    await service.let_go("a0")
    await service.ask("a-last")
    await service.let_go("a1")
    for number in range(2, 1 + MAX_WAITING):
        await service.let_go(f"a{number}")
    assert service.holding == ["a-last"]
    await service.let_go("a-last")
    assert service.is_empty()


async def test_the_wait_for_a_turn_is_bounded(service: Service, manual_clock: ManualClock) -> None:
    await service.ask("a1")
    second = await service.ask("a2")
    await manual_clock.advance(2 * UNSAID + MAX_WAIT)
    failure = await _failure(second)
    assert (failure.code, failure.retryable) == (Code.UNAVAILABLE, True)
    await service.let_go("a1")
    assert service.is_empty()


async def test_clearing_ends_all_of_one_conversation(service: Service) -> None:
    asked = [await service.ask(name) for name in ("a1", "a2", "b1")]
    clearing = await service.clear("a")
    await clearing
    assert service.holding == ["b1"]
    for answers in asked[:2]:
        assert (await _failure(answers)).code is Code.CANCELLED
    await (await service.clear("a"))
    await service.let_go("b1")
    assert service.is_empty()


async def test_a_crash_loses_the_lines_and_leaves_nobody_waiting(
    service: Service, manual_clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.ask("a1")
    second = await service.ask("a2")
    with monkeypatch.context() as patch:
        patch.setattr(ConversationTurns, "_enter", _crash)
        third = await service.ask("b1")
    assert (await _failure(third)).code is Code.UNAVAILABLE
    assert (await _failure(second)).code is Code.UNAVAILABLE
    await manual_clock.advance(60)
    assert len(service.made) == 2
    with pytest.raises(Failure, match="does not answer"):  # the restart has lost the queue
        await service.turns.ask(lambda reply: module.Await("a2", reply), timeout=5)
    await service.ask("a3")
    assert service.holding == ["a1", "a3"]
    await service.let_go("a1")
    await service.let_go("a3")
    assert service.is_empty()


def _crash(*_: object) -> None:
    raise RuntimeError("a defect")
