import asyncio

import pytest

from actors import (
    ActorRef,
    ActorSystem,
    AskDropped,
    Crashed,
    Down,
    Event,
    Exit,
    Lifecycle,
    Order,
    Reply,
    Stopped,
    Stuck,
    Supervision,
)
from actors.testing import LeakCheck, ManualClock, settle
from tests.support.kit import (
    PERMANENT,
    Bare,
    Boom,
    Do,
    Worker,
    for_ever,
    names,
    tasks_of_actors,
)

# -- misbehaving actors ----------------------------------------------------------------------------


class Swallower:
    """A message whose handler swallows up to two cancellations while it waits for its gate."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.swallowed = 0

    async def __call__(self, worker: Worker) -> None:
        while not self.gate.is_set() and self.swallowed < 2:
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.swallowed += 1


async def test_an_actor_that_swallows_cancellation_is_reported_and_abandoned(
    manual_clock: ManualClock, actor_events: list[Event], leak_check: LeakCheck
) -> None:
    system = ActorSystem(clock=manual_clock, observer=actor_events.append, kill_grace=3.0)
    leak_check.add(system)
    swallower = Swallower()
    ref = system.spawn(Bare, name="w", lifecycle=Lifecycle(shutdown=5.0))
    ref.tell(swallower)
    await settle()
    await manual_clock.until(system.stop())
    assert manual_clock.now() == 8.0
    assert swallower.swallowed == 1
    assert Stuck("system/w", "Swallower", 3.0) in actor_events
    assert Stopped("system/w", Exit.KILLED) in actor_events
    assert system.snapshot().children == ()
    swallower.gate.set()
    await settle()
    assert actor_events[-1] == Stopped("system", Exit.SHUTDOWN)  # and no event after it


async def test_an_actor_that_swallows_cancellation_and_then_ends_was_killed(
    actor_system: ActorSystem, manual_clock: ManualClock, actor_events: list[Event]
) -> None:
    log: list[str] = []

    async def swallow(worker: Worker) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            log.append("swallowed")

    ref = actor_system.spawn(lambda: Worker(log))
    ref.tell(swallow)
    await settle()
    ref.kill()
    assert (await ref.join()).exit is Exit.KILLED
    assert log == ["worker started", "swallowed"]


async def test_an_actor_that_raises_when_cancelled_has_crashed(
    actor_system: ActorSystem, actor_events: list[Event]
) -> None:
    async def fail(worker: Worker) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise Boom

    ref = actor_system.spawn(Bare, lifecycle=PERMANENT)
    ref.tell(fail)
    await settle()
    ref.kill()
    down = await ref.join()
    assert down.exit is Exit.CRASHED
    assert isinstance(down.error, Boom)
    assert len([event for event in actor_events if isinstance(event, Crashed)]) == 1


@pytest.mark.parametrize("order", [Order.REVERSE, Order.TOGETHER])
async def test_the_children_of_a_stuck_actor_still_end(
    manual_clock: ManualClock, actor_events: list[Event], leak_check: LeakCheck, order: Order
) -> None:
    system = ActorSystem(clock=manual_clock, observer=actor_events.append, kill_grace=3.0)
    leak_check.add(system)
    log: list[str] = []
    swallower = Swallower()

    class Parent(Worker):
        supervision = Supervision(order=order)

        def started(self) -> None:
            self.context.spawn(lambda: Worker(log, "child"), name="child")

    ref = await system.start(lambda: Parent(log, "parent"), name="parent")
    ref.tell(swallower)
    await settle()
    await manual_clock.until(system.stop())
    assert log == ["child started", "child stopped", "parent child_ended child shutdown"]
    assert not system.snapshot().children
    swallower.gate.set()


async def test_a_stuck_child_does_not_hold_its_parent(
    manual_clock: ManualClock, actor_events: list[Event], leak_check: LeakCheck
) -> None:
    system = ActorSystem(clock=manual_clock, observer=actor_events.append, kill_grace=3.0)
    leak_check.add(system)
    swallower = Swallower()
    parent = Worker(name="parent")
    await system.start(lambda: parent, name="parent", lifecycle=Lifecycle(shutdown=1.0))
    child = parent.context.spawn(Bare, name="child", lifecycle=Lifecycle(shutdown=2.0))
    child.tell(swallower)
    await settle()
    await manual_clock.until(system.stop())
    assert manual_clock.now() == 5.0
    stuck = [event.path for event in actor_events if isinstance(event, Stuck)]
    assert stuck == ["system/parent/child"]
    assert parent.log[-2:] == ["parent child_ended child killed", "parent stopped"]
    swallower.gate.set()


async def test_a_kill_while_the_children_end_does_not_orphan_them(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    parent = Worker(name="parent")
    ref = await actor_system.start(lambda: parent)
    child = parent.context.spawn(Bare, name="child")
    child.tell(for_ever)
    await settle()
    ref.stop()
    await settle()
    ref.kill()
    await settle()
    assert names(actor_system) == ["1"]
    downs = await manual_clock.until(asyncio.gather(child.join(), ref.join()))
    assert [down.exit for down in downs] == [Exit.KILLED, Exit.KILLED]
    assert manual_clock.now() == 5.0


async def test_askers_of_a_killed_actor_are_told_at_once(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    parent = Worker(name="parent")
    ref = await actor_system.start(lambda: parent)
    parent.context.spawn(Bare).tell(for_ever)

    def ask_in_vain(reply: Reply[None]) -> Do:
        return for_ever

    question = asyncio.create_task(ref.ask(ask_in_vain, timeout=100.0))
    await settle()
    ref.kill()
    with pytest.raises(AskDropped):
        await question
    assert manual_clock.now() == 0.0


async def test_a_system_of_many_ends_without_a_trace(
    manual_clock: ManualClock, leak_check: LeakCheck
) -> None:
    system = ActorSystem(clock=manual_clock)
    leak_check.add(system)

    class Nest(Worker):
        def __init__(self, depth: int) -> None:
            super().__init__()
            self.depth = depth

        def started(self) -> None:
            for _ in range(3 if self.depth else 0):
                self.nested(self.depth - 1).tell(lambda worker: None)

        def nested(self, depth: int) -> ActorRef[Do]:
            return self.context.spawn(lambda: Nest(depth))

    system.spawn(lambda: Nest(5))
    await settle()
    await system.stop()
    assert tasks_of_actors() == 0
    assert manual_clock.pending == 0


async def test_a_watcher_that_raises_hurts_nobody(
    actor_system: ActorSystem, actor_events: list[Event]
) -> None:
    heard: list[Down] = []

    def fail(down: Down) -> None:
        raise Boom

    ref = actor_system.spawn(Bare)
    ref.watch(fail)
    ref.watch(heard.append)
    ref.stop()
    assert len(heard) == 1
    assert [event.message for event in actor_events if isinstance(event, Crashed)] == ["watch"]
