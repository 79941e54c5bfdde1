"""Long-lived actors of extensions: started in order, found by type, restarted alone."""

from dataclasses import dataclass

import pytest

from actors import (
    Actor,
    ActorSystem,
    AlreadyRegistered,
    ChildGivenUp,
    Code,
    Event,
    Failure,
    NotRegistered,
    Registry,
    Reply,
    RequestActor,
    StartFailed,
)
from actors.requests.background import Extensions
from actors.testing import ManualClock, serving
from tests.support.kit import Boom
from tests.support.session_kit import Ask, Text


@dataclass
class Count:
    reply: Reply[int]


class Counter(Actor[Count]):
    """Answers each question with a count, and crashes at a count of 3."""

    def __init__(self, start: int = 0) -> None:
        self._count = start

    def receive(self, message: Count) -> None:
        self._count += 1
        if self._count == 3:
            raise Boom
        message.reply.send(self._count)


class Other(Actor[str]):
    def receive(self, message: str) -> None: ...


class HowMany(RequestActor[Text, Text]):
    async def handle(self, request: Text) -> Text:
        counter = self.context.actor(Counter, request.text or None)
        count = await counter.ask(Count, timeout=5.0)
        return Text(str(count))


class Lost(RequestActor[Ask, Text]):
    async def handle(self, request: Ask) -> Text:
        self.context.actor(Other)
        return Text()


def register(registry: Registry) -> None:
    registry.supervise("counter", Counter)
    registry.register(Text, HowMany)
    registry.register(Ask, Lost)


async def test_handlers_reach_them_by_type_and_a_restart_keeps_the_ref(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    async with serving(actor_system, register) as calls:
        ref = calls.registry.actor(Counter)
        assert ref.path == "system/extensions/counter"
        assert (await calls.call(Text(), Text)).text == "1"
        assert (await calls.call(Text(), Text)).text == "2"
        with pytest.raises(Failure) as failure:
            await calls.call(Text(), Text)
        assert failure.value.code is Code.INTERNAL
        again = await manual_clock.until(calls.call(Text(), Text))
        assert again.text == "1", "a new incarnation"
        assert calls.registry.actor(Counter) == ref


async def test_two_of_one_type_are_told_apart_by_name(actor_system: ActorSystem) -> None:
    def two(registry: Registry) -> None:
        registry.supervise("a", Counter)
        registry.supervise("b", lambda: Counter(100))
        registry.register(Text, HowMany)

    async with serving(actor_system, two) as calls:
        assert (await calls.call(Text("b"), Text)).text == "101"
        assert (await calls.call(Text("a"), Text)).text == "1"
        with pytest.raises(NotRegistered, match="several actors Counter; name one of 'a', 'b'"):
            calls.registry.actor(Counter)
        with pytest.raises(NotRegistered, match="no actor Counter named 'c' is running"):
            calls.registry.actor(Counter, "c")


async def test_the_use_of_an_actor_that_nobody_registered_is_a_crash_that_says_so(
    actor_system: ActorSystem, actor_events: list[Event]
) -> None:
    async with serving(actor_system, register) as calls:
        with pytest.raises(Failure):
            await calls.call(Ask(), Text)
    assert "no actor Other is running" in str(actor_events)


async def test_a_background_actor_that_crashes_in_a_loop_is_given_up_alone(
    actor_system: ActorSystem, actor_events: list[Event], manual_clock: ManualClock
) -> None:
    class Looping(Actor[str]):
        def receive(self, message: str) -> None:
            raise Boom

    def loop(registry: Registry) -> None:
        registry.supervise("looping", Looping)
        register(registry)

    async with serving(actor_system, loop) as calls:
        looping = calls.registry.actor(Looping)
        for _ in range(40):
            if looping.state == "running":
                looping.tell("")
            await manual_clock.advance(10)
        assert not looping.alive
        (given_up,) = [event for event in actor_events if isinstance(event, ChildGivenUp)]
        assert not given_up.escalated
        assert (await calls.call(Text(), Text)).text == "1"


async def test_a_background_actor_that_does_not_start_stops_those_before_it(
    actor_system: ActorSystem,
) -> None:
    stopped: list[str] = []

    class First(Actor[str]):
        def receive(self, message: str) -> None: ...

        def stopped(self) -> None:
            stopped.append("first")

    class Second(Actor[str]):
        def started(self) -> None:
            raise Boom("no device")

        def receive(self, message: str) -> None: ...

    registry = Registry()
    registry.supervise("first", First)
    registry.supervise("second", Second)
    with pytest.raises(StartFailed, match="no device"):
        await actor_system.start(lambda: Extensions(registry.background_actors), name="extensions")
    assert stopped == ["first"]


async def test_a_background_actor_may_need_another(actor_system: ActorSystem) -> None:
    class Needy(Actor[str]):
        def __init__(self, path: str) -> None:
            self.path = path

        def receive(self, message: str) -> None: ...

    made: list[Needy] = []

    def make(registry: Registry) -> Needy:
        made.append(Needy(registry.actor(Counter).path))
        return made[-1]

    def both(registry: Registry) -> None:
        registry.supervise("counter", Counter)
        registry.supervise("needy", lambda: make(registry))

    async with serving(actor_system, both):
        assert made[0].path == "system/extensions/counter"


def test_a_name_that_is_registered_twice_names_both_actors() -> None:
    registry = Registry()
    registry.supervise("x", Counter)
    with pytest.raises(AlreadyRegistered, match=r"'x' is taken by .*Counter; .*Other needs"):
        registry.supervise("x", Other)
