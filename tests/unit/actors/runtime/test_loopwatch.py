import asyncio
import re
import threading

from actors import ActorSystem, Blocked, Event
from actors.runtime.loopwatch import LoopWatch
from actors.testing import LeakCheck, settle
from tests.support.kit import Bare, Worker


class Looks:
    """A watch without its thread, on a clock that moves by one second after each look."""

    def __init__(self, system: ActorSystem) -> None:
        self.time = 0.0
        self.watch = LoopWatch(system, 2.0, lambda: self.time)

    def look(self, times: int) -> None:
        for _ in range(times):
            self.watch.look()
            self.time += 1.0


def blocked(events: list[Event]) -> list[Blocked]:
    return [event for event in events if isinstance(event, Blocked)]


async def test_an_actor_that_blocks_the_loop_in_a_plain_function_is_named(
    actor_system: ActorSystem, actor_events: list[Event]
) -> None:
    looks = Looks(actor_system)
    ref = actor_system.spawn(Bare, name="w")
    ref.tell(lambda worker: looks.look(5))
    await settle()
    found = blocked(actor_events)
    assert [(event.path, event.message, event.seconds) for event in found] == [
        ("system/w", "function", 2.0)
    ]


async def test_an_actor_that_blocks_the_loop_in_a_coroutine_is_named(
    actor_system: ActorSystem, actor_events: list[Event]
) -> None:
    looks = Looks(actor_system)

    async def block(worker: Worker) -> None:
        await asyncio.sleep(0)
        looks.look(5)

    actor_system.spawn(Bare, name="w").tell(block)
    await settle()
    assert [event.path for event in blocked(actor_events)] == ["system/w"]


async def test_a_loop_that_is_held_up_by_no_actor_is_reported_without_one(
    actor_system: ActorSystem, actor_events: list[Event]
) -> None:
    Looks(actor_system).look(5)
    asyncio.get_running_loop().call_soon(Looks(actor_system).look, 5)
    await settle()
    assert [(event.path, event.message) for event in blocked(actor_events)] == [("", "")] * 2


async def test_a_loop_that_gives_signs_of_life_is_not_reported(
    actor_system: ActorSystem, actor_events: list[Event]
) -> None:
    looks = Looks(actor_system)
    for _ in range(10):
        looks.look(2)
        await settle()
    assert blocked(actor_events) == []


async def test_it_is_reported_once_each_time(
    actor_system: ActorSystem, actor_events: list[Event]
) -> None:
    looks = Looks(actor_system)
    for _ in range(2):
        looks.look(10)
        await settle()
    assert len(blocked(actor_events)) == 2


async def test_the_thread_reports_while_the_loop_is_held_up(leak_check: LeakCheck) -> None:
    reported = threading.Event()
    events: list[Event] = []

    def observe(event: Event) -> None:
        events.append(event)
        if isinstance(event, Blocked):
            reported.set()

    system = ActorSystem(observer=observe, blocked_after=0.02)
    leak_check.add(system)
    system.spawn(Bare, name="w").tell(lambda worker: hold(reported))
    await settle()
    assert [event.path for event in blocked(events)] == ["system/w"]
    assert re.fullmatch(re.escape(threading.__file__) + r":\d+ in wait", blocked(events)[0].where)
    await system.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "loop watch"]


def hold(reported: threading.Event) -> None:
    assert reported.wait(10.0)


def test_the_thread_ends_with_its_loop() -> None:
    async def make() -> LoopWatch:
        watch = LoopWatch(ActorSystem(), 0.001)
        watch._where = lambda: ""  # type: ignore[method-assign]  # as if the thread had ended
        return watch

    watch = asyncio.run(make())
    watch.start()
    assert watch._thread is not None
    watch._thread.join(10.0)
    assert not watch._thread.is_alive()
    watch.stop()
    watch._thread_id = -1
    assert LoopWatch._where(watch) == ""


async def test_a_watch_that_was_ended_before_it_began_does_not_look(
    actor_system: ActorSystem, actor_events: list[Event]
) -> None:
    watch = LoopWatch(actor_system, 0.0)
    watch.stop()
    watch.start()
    assert watch._thread is not None
    watch._thread.join(10.0)
    assert not watch._thread.is_alive()
    await settle()
    assert blocked(actor_events) == []
