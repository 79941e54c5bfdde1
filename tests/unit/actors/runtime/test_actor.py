import asyncio
from collections.abc import Awaitable

import pytest

from actors import (
    Actor,
    ActorSystem,
    Down,
    Event,
    Exit,
    Lifecycle,
    Started,
    StartFailed,
    Stopped,
)
from actors.testing import ManualClock, settle
from tests.support.kit import (
    PERMANENT,
    TEMPORARY,
    TRANSIENT,
    Bare,
    Boom,
    Do,
    Worker,
    boom,
    names,
    note,
    wait_for,
)


async def test_the_hooks_run_in_order(actor_system: ActorSystem) -> None:
    class Careful(Worker):
        async def started(self) -> None:
            await asyncio.sleep(0)
            self.log.append("started")

        async def main(self) -> None:
            await asyncio.sleep(0)
            self.log.append("main")

        async def stopped(self) -> None:
            await asyncio.sleep(0)
            self.log.append("stopped")

    log: list[str] = []
    ref = actor_system.spawn(lambda: Careful(log))
    ref.tell(note(log, "message"))
    await settle()
    ref.stop()
    await ref.join()
    assert log == ["started", "main", "message", "stopped"]


async def test_a_ref_tells_the_state_and_how_the_mailbox_stands(actor_system: ActorSystem) -> None:
    ref = actor_system.spawn(Bare)
    assert ref.state == "running"
    ref.tell(lambda worker: None)
    assert ref.statistics().messages == 1
    ref.stop()
    assert ref.state == "stopped"


async def test_the_context_names_the_actor(actor_system: ActorSystem) -> None:
    worker = Worker()
    ref = actor_system.spawn(lambda: worker, name="w")
    await settle()
    assert worker.context.ref == ref
    assert worker.context.path == ref.path == "system/w"
    assert worker.context.system is actor_system
    assert worker.context.clock is actor_system.clock
    assert repr(ref) == "<ActorRef system/w>"
    assert {ref: 1}[worker.context.ref] == 1
    assert ref != "system/w"


async def test_stop_ends_after_the_message_in_hand(
    actor_system: ActorSystem, actor_events: list[Event]
) -> None:
    log: list[str] = []
    gate = asyncio.Event()
    ref = actor_system.spawn(lambda: Worker(log), name="w")

    async def slow(worker: Worker) -> None:
        await gate.wait()
        log.append("in hand")

    ref.tell(slow)
    await settle()
    ref.tell(note(log, "in the mailbox"))
    ref.stop()
    assert not ref.alive
    ref.tell(note(log, "after"))
    gate.set()
    down = await ref.join()
    assert down == Down("system/w", "w", Exit.SHUTDOWN)
    assert log == ["worker started", "in hand", "worker stopped"]
    assert actor_system.dead_letters == 2
    assert actor_events[-1] == Stopped("system/w", Exit.SHUTDOWN)


async def test_an_idle_actor_without_hooks_stops_at_once(actor_system: ActorSystem) -> None:
    ref = actor_system.spawn(Bare)
    ref.stop()
    assert names(actor_system) == []
    ref.stop()


async def test_an_actor_may_end_by_itself(actor_system: ActorSystem) -> None:
    log: list[str] = []
    ref = actor_system.spawn(lambda: Worker(log), lifecycle=TEMPORARY)

    def finish(worker: Worker) -> None:
        worker.context.stop()
        log.append("last")

    ref.tell(finish)
    await ref.send(note(log, "never"))
    down = await ref.join()
    assert down.exit is Exit.NORMAL
    assert log == ["worker started", "last", "worker stopped"]
    assert actor_system.dead_letters == 1


async def test_an_idle_actor_may_be_ended_through_its_context(actor_system: ActorSystem) -> None:
    worker = Worker()
    ref = actor_system.spawn(lambda: worker, lifecycle=TRANSIENT)
    await settle()
    worker.context.stop()
    assert (await ref.join()).exit is Exit.NORMAL
    worker.context.stop()


async def test_an_actor_may_tell_itself_to_stop(actor_system: ActorSystem) -> None:
    log: list[str] = []
    ref = actor_system.spawn(lambda: Worker(log), lifecycle=PERMANENT)

    def stop(worker: Worker) -> None:
        worker.context.ref.stop()
        log.append("last")

    ref.tell(stop)
    assert (await ref.join()).exit is Exit.SHUTDOWN
    assert log == ["worker started", "last", "worker stopped"]


async def test_an_actor_that_stops_itself_has_its_limit_too(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    ref = actor_system.spawn(Bare, lifecycle=Lifecycle(shutdown=3.0))

    async def stop_and_hang(worker: Worker) -> None:
        worker.context.ref.stop()
        await asyncio.Event().wait()

    ref.tell(stop_and_hang)
    assert (await manual_clock.until(ref.join())).exit is Exit.KILLED
    assert manual_clock.now() == 3.0


async def test_stopped_that_raises_is_a_crash(actor_system: ActorSystem) -> None:
    class Untidy(Worker):
        def stopped(self) -> None:
            raise Boom

    ref = await actor_system.start(Untidy)
    ref.stop()
    down = await ref.join()
    assert down.exit is Exit.CRASHED
    assert isinstance(down.error, Boom)
    assert names(actor_system) == []


async def test_an_actor_that_is_empty_as_a_container_is_still_the_actor(
    actor_system: ActorSystem,
) -> None:
    made: list[Worker] = []

    class Container(Worker):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

        def __len__(self) -> int:
            return 0

    ref = actor_system.spawn(Container)
    ref.tell(lambda worker: None)
    await settle()
    ref.tell(lambda worker: None)
    await settle()
    assert len(made) == 1


async def test_child_ended_hears_of_each_child_once(actor_system: ActorSystem) -> None:
    parent = Worker(name="parent")
    actor_system.spawn(lambda: parent)
    await settle()
    one = parent.context.spawn(Bare, name="one", lifecycle=TEMPORARY)
    two = await parent.context.start(Bare, name="two", lifecycle=TEMPORARY)
    one.tell(boom)
    await settle()
    two.stop()
    assert parent.log[1:] == [
        "parent child_ended one crashed",
        "parent child_ended two shutdown",
    ]


async def test_child_ended_that_raises_crashes_the_parent(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    class Squeamish(Worker):
        def child_ended(self, down: Down) -> None:
            raise Boom

    made: list[Squeamish] = []

    def factory() -> Squeamish:
        made.append(Squeamish())
        return made[-1]

    ref = actor_system.spawn(factory, lifecycle=PERMANENT)
    await settle()
    made[0].context.spawn(Bare).stop()
    await manual_clock.advance(10.0)
    assert len(made) == 2
    assert ref.alive
    made[1].context.spawn(Bare)
    ref.stop()
    assert (await ref.join()).exit is Exit.SHUTDOWN  # the exception is only reported


async def test_an_actor_that_is_ending_starts_no_children(actor_system: ActorSystem) -> None:
    failures: list[BaseException] = []

    class Late(Worker):
        def child_ended(self, down: Down) -> None:
            try:
                self.context.spawn(Bare)
            except StartFailed as failed:
                failures.append(failed)

    late = Late()
    ref = actor_system.spawn(lambda: late, lifecycle=TEMPORARY)
    await settle()
    late.context.spawn(Bare)
    ref.tell(boom)
    assert (await ref.join()).exit is Exit.CRASHED
    assert len(failures) == 1


async def test_the_events_of_a_life(actor_system: ActorSystem, actor_events: list[Event]) -> None:
    ref = actor_system.spawn(Bare, name="w")
    ref.stop()
    assert actor_events[1:] == [Started("system/w"), Stopped("system/w", Exit.SHUTDOWN)]


async def test_receive_may_be_a_coroutine_or_not(actor_system: ActorSystem) -> None:
    gate = asyncio.Event()
    log: list[str] = []
    ref = actor_system.spawn(Bare)

    def sync(worker: Worker) -> Awaitable[None] | None:
        log.append("sync")
        return None

    def asynchronous() -> Do:
        return wait_for(gate)

    for message in (sync, asynchronous(), sync):
        await ref.send(message)
    await settle()
    assert log == ["sync"]
    gate.set()
    await settle()
    assert log == ["sync", "sync"]


def test_a_base_actor_has_hooks_that_do_nothing() -> None:
    class Least(Actor[int]):
        def receive(self, message: int) -> None: ...

    least = Least()
    assert least.started() is least.main() is least.stopped() is None
    assert least.down(Down("p", "n", Exit.NORMAL)) is None
    least.child_ended(Down("p", "n", Exit.NORMAL))
    with pytest.raises(AttributeError):
        _ = least.context


async def test_main_may_be_a_plain_function(actor_system: ActorSystem) -> None:
    class Errand(Worker):
        def main(self) -> None:
            self.log.append("main")

    errand = Errand()
    ref = actor_system.spawn(lambda: errand)
    ref.tell(note(errand.log, "message"))
    await settle()
    assert errand.log == ["worker started", "main", "message"]
