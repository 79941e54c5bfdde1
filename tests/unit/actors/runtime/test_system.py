import asyncio
from random import Random

import pytest

from actors import (
    ActorSnapshot,
    ActorSystem,
    DeadLetter,
    Event,
    GivenUp,
    Intensity,
    Lifecycle,
    LoopClock,
    Started,
    StartFailed,
    Tally,
)
from actors.testing import LeakCheck, ManualClock, settle
from tests.support.bound import BOUND
from tests.support.kit import (
    STEADY,
    TEMPORARY,
    Bare,
    Worker,
    boom,
    for_ever,
    note,
    sending,
    tasks_of_actors,
    wait_for,
)


async def test_a_snapshot_shows_the_tree(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    gate = asyncio.Event()

    class Parent(Worker):
        def started(self) -> None:
            self.context.spawn(Bare, name="child", lifecycle=Lifecycle(capacity=7))

    parent = await actor_system.start(Parent, name="parent")
    busy = actor_system.spawn(Bare, name="busy", lifecycle=Lifecycle(backoff=STEADY))
    busy.tell(boom)
    await manual_clock.advance(1.0)
    busy.tell(wait_for(gate))
    await settle()
    busy.tell(for_ever)
    await manual_clock.advance(2.5)
    assert actor_system.snapshot() == ActorSnapshot(
        name="system", type="Root", state="running", mailbox=0, capacity=BOUND or 1024,
        message="", busy_for=0.0, restarts=0,
        tally=Tally(started=2, crashed=1, restarted=1),
        children=(
            ActorSnapshot(
                name="parent", type="Parent", state="running", mailbox=0, capacity=BOUND or 1024,
                message="", busy_for=0.0, restarts=0, tally=Tally(started=1),
                children=(
                    ActorSnapshot(
                        name="child", type="Bare", state="running", mailbox=0, capacity=BOUND or 7,
                        message="", busy_for=0.0, restarts=0, tally=Tally(),
                    ),
                ),
            ),
            ActorSnapshot(
                name="busy", type="Bare", state="running", mailbox=1, capacity=BOUND or 1024,
                message="function", busy_for=2.5, restarts=1, tally=Tally(),
            ),
        ),
    )  # fmt: skip
    parent.stop()
    gate.set()


@pytest.mark.own_bound("tells several at once, and to tell is not to wait for room")
async def test_each_message_that_waits_is_timed_from_when_it_was_taken(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    async def at_once(worker: Worker) -> None: ...

    def busy_for() -> float:
        return actor_system.snapshot().children[0].busy_for

    gates = [asyncio.Event() for _ in range(3)]
    ref = actor_system.spawn(Bare)
    for gate in gates:
        ref.tell(at_once)
        ref.tell(wait_for(gate))
    for seconds, gate in enumerate(gates, start=1):
        await manual_clock.advance(seconds)
        assert busy_for() == seconds
        gate.set()
        await settle()
    assert busy_for() == 0.0


@pytest.mark.own_bound("tells several at once, and to tell is not to wait for room")
@pytest.mark.parametrize("before", [0, 1])
async def test_the_first_message_that_waits_is_timed_too(
    actor_system: ActorSystem, manual_clock: ManualClock, before: int
) -> None:
    async def wait(worker: Worker) -> None:
        await asyncio.Event().wait()

    await manual_clock.advance(7.0)
    ref = actor_system.spawn(lambda: Worker())
    for _ in range(before):
        ref.tell(lambda worker: None)
    ref.tell(wait)
    await manual_clock.advance(2.0)
    assert actor_system.snapshot().children[0].busy_for == 2.0
    ref.kill()


async def test_a_snapshot_from_within_a_plain_function_shows_it_as_just_begun(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    seen: list[ActorSnapshot] = []
    ref = actor_system.spawn(Bare)
    await manual_clock.advance(5.0)
    ref.tell(lambda worker: seen.extend(actor_system.snapshot().children))
    await settle()
    assert [(actor.message, actor.busy_for) for actor in seen] == [("function", 0.0)]


async def test_a_snapshot_shows_paused_and_stopping_actors(
    actor_system: ActorSystem,
) -> None:
    actor_system.spawn(Bare, lifecycle=Lifecycle(backoff=STEADY)).tell(boom)
    stopping = actor_system.spawn(Bare)
    stopping.tell(for_ever)
    await settle()
    stopping.stop()
    children = actor_system.snapshot().children
    assert [(child.state, child.type) for child in children] == [
        ("paused", ""), ("stopping", "Bare")
    ]  # fmt: skip


async def test_a_snapshot_changes_nothing(actor_system: ActorSystem) -> None:
    for _ in range(10):
        actor_system.spawn(Bare)
    assert actor_system.snapshot() == actor_system.snapshot()
    assert tasks_of_actors() == 0


async def test_dead_letters_are_counted_and_reported(
    actor_system: ActorSystem, actor_events: list[Event]
) -> None:
    ref = actor_system.spawn(Bare, name="w")
    ref.stop()
    ref.tell(for_ever)
    assert actor_system.dead_letters == 1
    assert actor_events[-1] == DeadLetter("system/w", "function")


async def test_all_works_with_nobody_listening(manual_clock: ManualClock) -> None:
    system = ActorSystem(clock=manual_clock)
    lifecycle = Lifecycle(backoff=STEADY, intensity=Intensity(restarts=1, period=60.0))
    ref = system.spawn(Bare, lifecycle=lifecycle)
    sender = sending(ref, boom, boom, for_ever)
    await manual_clock.advance(10.0)
    await sender
    assert not ref.alive
    assert system.dead_letters == 1
    await system.stop()


async def test_a_stopped_system_starts_nothing(manual_clock: ManualClock) -> None:
    system = ActorSystem(clock=manual_clock)
    await system.stop()
    with pytest.raises(StartFailed):
        system.spawn(Bare)
    with pytest.raises(StartFailed):
        await system.start(Bare)


async def test_the_root_stops_its_children_in_reverse(
    manual_clock: ManualClock, leak_check: LeakCheck
) -> None:
    log: list[str] = []
    system = ActorSystem(clock=manual_clock)
    leak_check.add(system)

    async def start(name: str) -> None:
        await system.start(lambda: Worker(log, name), name=name)

    for name in "abc":
        await start(name)
    log.clear()
    await asyncio.gather(system.stop(), system.stop())
    await system.stop()
    assert log == ["c stopped", "b stopped", "a stopped"]


async def test_the_root_waits_for_as_long_as_its_children_may_take(
    manual_clock: ManualClock,
) -> None:
    system = ActorSystem(clock=manual_clock)
    for _ in range(10):
        system.spawn(Bare, lifecycle=Lifecycle(shutdown=1000.0)).tell(for_ever)
    await settle()
    await manual_clock.until(system.stop(), within=100_000.0)
    assert manual_clock.now() == 10_000.0
    assert system.snapshot().state == "stopped"


async def test_a_stop_takes_back_all_deadlines(manual_clock: ManualClock) -> None:
    system = ActorSystem(clock=manual_clock)
    system.deadlines.add(5.0, lambda: None)
    await system.stop()
    assert manual_clock.pending == 0


async def test_a_healthy_system_has_not_failed(actor_system: ActorSystem) -> None:
    failed = asyncio.create_task(actor_system.failed())
    actor_system.spawn(Bare, lifecycle=TEMPORARY).tell(boom)
    await settle()
    assert not failed.done()
    failed.cancel()


async def test_a_cancelled_wait_for_the_failure_does_not_affect_the_next(
    manual_clock: ManualClock,
) -> None:
    system = ActorSystem(clock=manual_clock, random=Random(0))
    first = asyncio.create_task(system.failed())
    await settle()
    first.cancel()
    ref = system.spawn(Bare)
    sender = sending(ref, *[boom] * 4)
    await manual_clock.advance(60.0)
    await sender
    assert isinstance(await system.failed(), GivenUp)
    await system.stop()


async def test_the_name_of_the_system_begins_every_path(manual_clock: ManualClock) -> None:
    events: list[Event] = []
    system = ActorSystem(name="callboard", clock=manual_clock, observer=events.append)
    assert events == [Started("callboard")]
    assert system.spawn(Bare, name="w").path == "callboard/w"
    await system.stop()


async def test_without_a_clock_it_runs_on_the_loops() -> None:
    loop = asyncio.get_running_loop()
    clock = LoopClock()
    before = loop.time()
    assert before <= clock.now() <= loop.time()
    log: list[str] = []
    system = ActorSystem()
    system.spawn(Bare).tell(note(log, "x"))
    await settle()
    assert log == ["x"]
    done = asyncio.Event()
    clock.call_later(0.0, done.set)
    clock.call_later(0.0, done.clear).cancel()
    await done.wait()
    await system.stop()


async def test_a_child_without_a_name_gets_a_free_one(actor_system: ActorSystem) -> None:
    for name in ("1", "2", "4"):
        actor_system.spawn(Bare, name=name)
    assert [actor_system.spawn(Bare).path for _ in range(2)] == ["system/3", "system/5"]


async def test_thousands_of_children_come_and_go(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    log: list[str] = []
    for round_ in range(3):
        refs = [actor_system.spawn(Bare) for _ in range(2000)]
        for ref in refs:
            ref.tell(note(log, str(round_)))
        await settle()
        for ref in refs:
            ref.stop()
        assert actor_system.snapshot().children == ()
    assert len(log) == 6000
    assert actor_system.snapshot().tally == Tally(started=6000, stopped=6000)


async def test_the_statistics_of_what_actors_share(actor_system: ActorSystem) -> None:
    gate = asyncio.Event()
    ref = actor_system.spawn(Bare)
    ref.tell(wait_for(gate))
    assert actor_system.statistics().run_queue.ready == 1
    await settle()
    found = actor_system.statistics()
    assert (found.run_queue.ready, found.tasks, found.deadlines.pending) == (0, 1, 0)
    gate.set()
    await settle()
    assert actor_system.statistics().tasks == 0
