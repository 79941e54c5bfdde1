import asyncio
import inspect
from collections.abc import Awaitable

import pytest

from actors import (
    ActorRef,
    ActorSystem,
    Crashed,
    Down,
    Event,
    Exit,
    Lifecycle,
    Stuck,
)
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
    names,
    note,
)

# -- the limit -----------------------------------------------------------------------------------


async def test_the_message_in_hand_may_use_its_limit(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    log: list[str] = []
    gate = asyncio.Event()

    async def slow(worker: Worker) -> None:
        await gate.wait()
        log.append("done")

    ref = actor_system.spawn(lambda: Worker(log), lifecycle=Lifecycle(shutdown=5.0))
    ref.tell(slow)
    await settle()
    ref.stop()
    manual_clock.call_later(4.9, gate.set)
    down = await manual_clock.until(ref.join())
    assert manual_clock.now() == 4.9
    assert down.exit is Exit.SHUTDOWN
    assert log == ["worker started", "done", "worker stopped"]


async def test_past_the_limit_it_is_cancelled(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    log: list[str] = []

    async def cleaning(worker: Worker) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            log.append("cancelled")

    ref = actor_system.spawn(lambda: Worker(log), lifecycle=Lifecycle(shutdown=5.0))
    ref.tell(cleaning)
    await settle()
    ref.stop()
    await manual_clock.advance(4.9)
    assert log == ["worker started"]
    down = await manual_clock.until(ref.join())
    assert manual_clock.now() == 5.0
    assert down.exit is Exit.KILLED
    assert log == ["worker started", "cancelled"]  # `stopped` does not run after a kill


async def test_a_second_stop_does_not_move_the_limit(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    ref = actor_system.spawn(Bare, lifecycle=Lifecycle(shutdown=5.0))
    ref.tell(for_ever)
    await settle()
    ref.stop()
    await manual_clock.advance(3.0)
    ref.stop()
    await manual_clock.until(ref.join())
    assert manual_clock.now() == 5.0


async def test_stopped_has_its_limit(actor_system: ActorSystem, manual_clock: ManualClock) -> None:
    class Lingering(Worker):
        async def stopped(self) -> None:
            await asyncio.Event().wait()

    ref = await actor_system.start(Lingering, lifecycle=Lifecycle(shutdown=5.0))
    ref.stop()
    down = await manual_clock.until(ref.join())
    assert manual_clock.now() == 5.0
    assert down.exit is Exit.KILLED


async def test_stopped_has_its_limit_after_a_normal_end_too(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    class Lingering(Worker):
        async def stopped(self) -> None:
            await asyncio.Event().wait()

    lingering = Lingering()
    await actor_system.start(lambda: lingering, lifecycle=Lifecycle(shutdown=5.0))
    ref = lingering.context.ref
    ref.restart_never()
    lingering.context.stop()
    await settle()
    stopping = asyncio.create_task(actor_system.stop())
    await manual_clock.until(stopping)
    assert manual_clock.now() == 5.0


async def test_stopped_that_hangs_before_a_restart_is_ended_by_a_stop(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    class Lingering(Worker):
        async def stopped(self) -> None:
            await asyncio.Event().wait()

    def boom(worker: Worker) -> None:
        raise Boom

    ref = await actor_system.start(Lingering, lifecycle=PERMANENT)
    ref.tell(boom)
    await manual_clock.advance(50.0)
    ref.stop()
    await manual_clock.until(ref.join())
    assert manual_clock.now() == 55.0


async def test_what_is_left_in_the_mailbox_becomes_dead_letters_at_once(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    log: list[str] = []
    ref = actor_system.spawn(Bare)
    ref.tell(for_ever)
    await settle()
    told = min(5, ref.statistics().capacity)
    for _ in range(told):
        ref.tell(note(log, "x"))
    ref.stop()
    assert actor_system.dead_letters == told
    await manual_clock.until(ref.join())
    assert log == []


# -- kill ----------------------------------------------------------------------------------------


async def test_kill_does_not_wait(actor_system: ActorSystem, manual_clock: ManualClock) -> None:
    ref = actor_system.spawn(Bare)
    ref.tell(for_ever)
    await settle()
    ref.kill()
    assert (await ref.join()).exit is Exit.KILLED
    assert manual_clock.now() == 0.0
    assert manual_clock.pending == 0


async def test_kill_after_stop_does_not_wait_any_longer(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    ref = actor_system.spawn(Bare)
    ref.tell(for_ever)
    await settle()
    ref.stop()
    ref.kill()
    ref.kill()
    assert (await ref.join()).exit is Exit.KILLED
    assert manual_clock.now() == 0.0


async def test_kill_of_an_actor_whose_task_has_not_begun(
    actor_system: ActorSystem, manual_clock: ManualClock, actor_events: list[Event]
) -> None:
    log: list[str] = []
    ref = actor_system.spawn(lambda: Worker(log))
    ref.tell(note(log, "x"))
    ref.kill()
    assert (await ref.join()).exit is Exit.KILLED
    assert manual_clock.now() == 0.0
    assert log == []
    assert not [event for event in actor_events if isinstance(event, Stuck)]


async def test_kill_of_an_idle_actor(actor_system: ActorSystem) -> None:
    log: list[str] = []
    bare = actor_system.spawn(Bare)
    bare.kill()
    assert (await bare.join()).exit is Exit.SHUTDOWN  # there was nothing to cancel
    worker = await actor_system.start(lambda: Worker(log))
    worker.kill()
    assert (await worker.join()).exit is Exit.KILLED
    assert log == ["worker started"]


async def test_kill_of_a_parent_ends_its_children_in_order(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    log: list[str] = []

    class Parent(Worker):
        def started(self) -> None:
            for name in "ab":
                self.nested(name).tell(for_ever)

        def nested(self, name: str) -> ActorRef[Do]:
            return self.context.spawn(lambda: Worker(log, name), name=name)

    ref = await actor_system.start(lambda: Parent(log, "parent"))
    await settle()
    log.clear()
    ref.kill()
    await settle()
    ref.kill()  # without effect
    down = await manual_clock.until(ref.join())
    assert down.exit is Exit.KILLED
    assert manual_clock.now() == 10.0
    assert log == ["parent child_ended b killed", "parent child_ended a killed"]


async def test_an_actor_that_kills_itself_ends_at_its_next_wait(actor_system: ActorSystem) -> None:
    log: list[str] = []

    async def end_oneself(worker: Worker) -> None:
        worker.context.ref.kill()
        log.append("still here")
        await asyncio.Event().wait()

    ref = actor_system.spawn(Bare)
    ref.tell(end_oneself)
    assert (await ref.join()).exit is Exit.KILLED
    assert log == ["still here"]


async def test_a_task_that_is_cancelled_from_outside_is_a_killed_actor(
    actor_system: ActorSystem,
) -> None:
    tasks: list[asyncio.Task[None] | None] = []

    async def show_task(worker: Worker) -> None:
        tasks.append(asyncio.current_task())
        await asyncio.Event().wait()

    ref = actor_system.spawn(Bare)
    ref.tell(show_task)
    await settle()
    assert tasks[0] is not None
    tasks[0].cancel()
    assert (await ref.join()).exit is Exit.KILLED
    assert names(actor_system) == []


@pytest.mark.usefixtures("ctrl_c_raises")
async def test_ctrl_c_is_not_held_up(actor_system: ActorSystem) -> None:
    """A KeyboardInterrupt in a handler propagates to the event loop and ends the actor."""
    raised = KeyboardInterrupt()

    async def leave(worker: Worker) -> None:
        await gate.wait()
        raise raised

    gate = asyncio.Event()
    ref = actor_system.spawn(Bare)
    ref.tell(leave)
    await settle()
    gate.set()
    loop = asyncio.get_running_loop()
    # The exception would end the loop, so the test runs the task's step itself.
    task = next(iter(asyncio.all_tasks() - {asyncio.current_task()}))
    coroutine = task.get_coro()
    assert coroutine is not None
    with pytest.raises(KeyboardInterrupt):
        coroutine.send(None)
    assert not ref.alive
    down = await ref.join()
    assert down.error is raised
    task.cancel()
    assert loop.is_running()
    await settle()


# -- other ends ------------------------------------------------------------------------------------


async def test_a_plain_function_may_end_its_actor(
    actor_system: ActorSystem, actor_events: list[Event]
) -> None:
    ref = actor_system.spawn(Bare, lifecycle=TEMPORARY)
    ref.tell(lambda worker: worker.context.stop())
    await ref.send(for_ever)
    await settle()
    assert (await ref.join()).exit is Exit.NORMAL
    assert actor_system.dead_letters == 1
    assert names(actor_system) == []


async def test_a_plain_function_that_ends_its_actor_leaves_it_time_to_clean_up(
    actor_system: ActorSystem,
) -> None:
    class Tidy(Bare):
        async def stopped(self) -> None:
            log.append("stopped")

    log: list[str] = []
    ref = actor_system.spawn(Tidy, lifecycle=TEMPORARY)
    ref.tell(lambda worker: worker.context.stop())
    assert (await ref.join()).exit is Exit.NORMAL
    assert log == ["stopped"]


async def test_an_actor_that_kills_itself_begins_nothing_more(actor_system: ActorSystem) -> None:
    log: list[str] = []

    async def never_begun() -> None:
        log.append("begun")

    def kill(worker: Worker) -> Awaitable[None]:
        worker.context.ref.kill()
        return never_begun()

    ref = actor_system.spawn(Bare)
    ref.tell(kill)
    assert (await ref.join()).exit is Exit.KILLED
    assert log == []


async def test_stopped_that_raises_after_a_crash_does_not_hide_it(
    actor_system: ActorSystem, actor_events: list[Event]
) -> None:
    class Twice(Worker):
        def stopped(self) -> None:
            raise ZeroDivisionError

    ref = actor_system.spawn(Twice, lifecycle=TEMPORARY)
    ref.tell(boom)
    down = await ref.join()
    assert isinstance(down.error, Boom)
    crashes = [event for event in actor_events if isinstance(event, Crashed)]
    assert [type(crash.error) for crash in crashes] == [Boom, ZeroDivisionError]
    assert crashes[1].message == "stopped"


@pytest.mark.usefixtures("ctrl_c_raises")
async def test_a_child_ends_quietly_after_ctrl_c_has_ended_its_parent(
    actor_system: ActorSystem,
) -> None:
    parent = Bare()
    ref = actor_system.spawn(lambda: parent)
    child = parent.context.spawn(Bare)

    def leave(worker: Worker) -> None:
        raise KeyboardInterrupt

    ref.tell(leave)
    with pytest.raises(KeyboardInterrupt):
        actor_system.run_queue._run()  # called directly, since the exception would end the loop
    assert (await ref.join()).exit is Exit.CRASHED
    child.stop()
    assert (await child.join()).exit is Exit.SHUTDOWN


def test_a_loop_that_is_gone_takes_its_actors_along_and_nobody_is_told() -> None:
    loop = asyncio.new_event_loop()
    downs: list[Down] = []

    async def begin() -> ActorSystem:
        system = ActorSystem()
        ref = system.spawn(Bare)
        ref.watch(downs.append)
        ref.tell(for_ever)
        await settle()
        return system

    system = loop.run_until_complete(begin())
    loop.set_exception_handler(lambda loop, context: None)  # "destroyed but it is pending"
    (task,) = asyncio.all_tasks(loop)
    loop.close()
    work = task.get_coro()
    assert inspect.iscoroutine(work)
    work.close()
    assert downs == []
    assert system.statistics().tasks == 0
