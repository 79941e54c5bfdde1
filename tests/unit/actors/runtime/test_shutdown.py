import asyncio

import pytest

from actors import (
    ActorRef,
    ActorSystem,
    AskCrashed,
    Crashed,
    Down,
    Event,
    Exit,
    Lifecycle,
    Order,
    StartFailed,
    Supervision,
)
from actors.testing import ManualClock, settle
from tests.support.kit import (
    PERMANENT,
    Bare,
    Boom,
    Do,
    Worker,
    boom,
    names,
    wait_for,
)

# -- stops and restarts ----------------------------------------------------------------------------


async def test_a_stop_ends_the_pause_at_once(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    log: list[str] = []
    ref = actor_system.spawn(lambda: Worker(log), lifecycle=PERMANENT)
    ref.tell(boom)
    await settle()
    log.clear()
    ref.stop()
    assert (await ref.join()).exit is Exit.SHUTDOWN
    assert manual_clock.now() == 0.0
    assert manual_clock.pending == 0
    assert log == []


async def test_a_kill_ends_the_pause_at_once(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    ref = actor_system.spawn(Bare, lifecycle=PERMANENT)
    ref.tell(boom)
    await settle()
    ref.kill()
    assert (await ref.join()).exit is Exit.SHUTDOWN  # nothing had to be cancelled
    assert manual_clock.pending == 0


async def test_a_crash_while_stopping_is_not_mended(
    actor_system: ActorSystem, actor_events: list[Event]
) -> None:
    gate = asyncio.Event()
    log: list[str] = []

    async def wait_and_crash(worker: Worker) -> None:
        await gate.wait()
        raise Boom

    ref = actor_system.spawn(lambda: Worker(log), lifecycle=PERMANENT)
    ref.tell(wait_and_crash)
    await settle()
    ref.stop()
    gate.set()
    down = await ref.join()
    assert down.exit is Exit.CRASHED
    assert log == ["worker started", "worker stopped"]
    assert [event.restart_in for event in actor_events if isinstance(event, Crashed)] == [None]
    assert names(actor_system) == []


async def test_no_child_is_started_while_its_parent_is_paused(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    refused: list[StartFailed] = []

    class Replacing(Worker):
        def child_ended(self, down: Down) -> None:
            try:
                self.context.spawn(Bare)
            except StartFailed as failed:
                refused.append(failed)

    made: list[Replacing] = []

    def factory() -> Replacing:
        made.append(Replacing())
        return made[-1]

    ref = actor_system.spawn(factory, lifecycle=PERMANENT)
    await settle()
    made[0].context.spawn(Bare)
    ref.tell(boom)
    await manual_clock.advance(1.0)
    assert len(refused) == 1
    assert actor_system.snapshot().children[0].children == ()


async def test_an_asker_hears_of_a_crash_before_the_restart(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    ref = actor_system.spawn(Bare, lifecycle=PERMANENT)
    with pytest.raises(AskCrashed):
        await ref.ask(lambda reply: boom, timeout=10.0)
    assert manual_clock.now() == 0.0


# -- order of shutdown ---------------------------------------------------------------------------


async def parent_of_three(
    system: ActorSystem, order: Order, log: list[str], gates: dict[str, asyncio.Event]
) -> ActorRef[Do]:
    class Three(Worker):
        supervision = Supervision(order=order)

        def started(self) -> None:
            for name in "abc":
                child = self.context.spawn(self.child(name), name=name)
                child.tell(wait_for(gates[name]))

        def child(self, name: str) -> "type[Worker]":
            class Child(Worker):
                def __init__(self) -> None:
                    super().__init__(log, name)

            return Child

    ref = system.spawn(lambda: Three(log, "parent"), name="parent")
    await settle()
    log.clear()
    return ref


async def test_in_reverse_each_waits_for_the_younger(actor_system: ActorSystem) -> None:
    log: list[str] = []
    gates = {name: asyncio.Event() for name in "abc"}
    ref = await parent_of_three(actor_system, Order.REVERSE, log, gates)
    ref.stop()
    await settle()
    gates["a"].set()
    gates["b"].set()
    await settle()
    assert log == []
    states = {child.name: child.state for child in actor_system.snapshot().children[0].children}
    assert states == {"a": "running", "b": "running", "c": "stopping"}
    gates["c"].set()
    await ref.join()
    assert [line for line in log if line.endswith("stopped")] == [
        "c stopped", "b stopped", "a stopped", "parent stopped"
    ]  # fmt: skip


async def test_together_all_are_told_at_once(actor_system: ActorSystem) -> None:
    log: list[str] = []
    gates = {name: asyncio.Event() for name in "abc"}
    ref = await parent_of_three(actor_system, Order.TOGETHER, log, gates)
    ref.stop()
    await settle()
    states = {child.state for child in actor_system.snapshot().children[0].children}
    assert states == {"stopping"}
    for name in "acb":
        gates[name].set()
        await settle()
    await ref.join()
    assert [line for line in log if line.endswith("stopped")] == [
        "a stopped", "c stopped", "b stopped", "parent stopped"
    ]  # fmt: skip


async def test_each_child_has_its_own_limit_and_the_parent_waits_for_all(
    actor_system: ActorSystem, manual_clock: ManualClock, actor_events: list[Event]
) -> None:
    log: list[str] = []
    gates = {name: asyncio.Event() for name in "abc"}
    ref = await parent_of_three(actor_system, Order.REVERSE, log, gates)
    ref.stop()
    down = await manual_clock.until(ref.join())
    assert manual_clock.now() == 15.0  # three limits of five seconds
    assert down.exit is Exit.SHUTDOWN
    assert log == [
        "parent child_ended c killed", "parent child_ended b killed",
        "parent child_ended a killed", "parent stopped",
    ]  # fmt: skip


async def test_a_stop_while_a_crashed_actor_ends_its_children_is_no_restart(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    parent = Worker(name="parent")
    ref = await actor_system.start(lambda: parent, lifecycle=PERMANENT)
    gate = asyncio.Event()
    parent.context.spawn(Bare, lifecycle=Lifecycle(shutdown=100.0)).tell(wait_for(gate))
    await settle()
    ref.tell(boom)
    await settle()
    ref.stop()
    gate.set()
    assert (await ref.join()).exit is Exit.SHUTDOWN
    await manual_clock.advance(100.0)
    assert parent.log.count("parent started") == 1
