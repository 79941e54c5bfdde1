import asyncio

from actors import (
    ActorSystem,
    Crashed,
    DeadLetter,
    Event,
    Exit,
    Observer,
    Restarted,
    Started,
    Stopped,
)
from actors.testing import LeakCheck, ManualClock, settle
from tests.support.kit import PERMANENT, TEMPORARY, Bare, Boom, boom


async def test_the_events_of_a_life_are_told_in_order(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    events: list[Event] = []
    end = actor_system.subscribe(events.append)
    ref = actor_system.spawn(Bare, name="w", lifecycle=PERMANENT)
    ref.tell(boom)
    await manual_clock.advance(1.0)
    ref.stop()
    ref.tell(boom)
    crash = events[1]
    assert isinstance(crash, Crashed)
    assert isinstance(crash.error, Boom)
    assert (crash.message, crash.restart_in) == ("function", 1.0)
    assert [events[0], *events[2:]] == [
        Started("system/w"),
        Restarted("system/w", 1),
        Stopped("system/w", Exit.SHUTDOWN),
        DeadLetter("system/w", "function"),
    ]
    end()
    actor_system.spawn(Bare)
    assert len(events) == 5


async def test_no_event_is_made_while_nobody_listens(leak_check: LeakCheck) -> None:
    reported: list[Event] = []

    class Counting(ActorSystem):
        def report(self, event: Event) -> None:
            reported.append(event)
            super().report(event)

    system = Counting()
    leak_check.add(system)
    ref = system.spawn(Bare, lifecycle=TEMPORARY)
    ref.tell(boom)
    await settle()
    ref.tell(boom)
    assert reported == []
    end = system.subscribe(lambda event: None)
    system.spawn(Bare)
    assert len(reported) == 1
    end()
    end()
    system.spawn(Bare)
    await system.stop()
    assert len(reported) == 1


async def test_an_observer_that_raises_hurts_nobody(actor_system: ActorSystem) -> None:
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda loop, context: errors.append(context["exception"])
    )
    heard: list[Event] = []

    def fail(event: Event) -> None:
        raise Boom

    observers: tuple[Observer, ...] = (fail, heard.append)
    ends = [actor_system.subscribe(observer) for observer in observers]
    ref = actor_system.spawn(Bare)
    ref.stop()
    for end in ends:
        end()
    assert [type(error) for error in errors] == [Boom, Boom]
    assert len(heard) == 2


async def test_an_observer_of_some_kinds_gets_no_others(actor_system: ActorSystem) -> None:
    events: list[Event] = []
    end = actor_system.subscribe(events.append, [Stopped, DeadLetter])
    ref = actor_system.spawn(Bare, name="w")
    ref.stop()
    ref.tell(boom)
    assert events == [Stopped("system/w", Exit.SHUTDOWN), DeadLetter("system/w", "function")]
    end()
    end()
    actor_system.spawn(Bare).stop()
    assert len(events) == 2
