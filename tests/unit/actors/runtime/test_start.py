import asyncio

import pytest

from actors import (
    ActorSystem,
    ChildSpec,
    Crashed,
    Event,
    Exit,
    Lifecycle,
    NameTaken,
    Rejected,
    Reply,
    Restart,
    Started,
    StartFailed,
    Supervisor,
)
from actors.testing import settle
from tests.support.kit import (
    PERMANENT,
    TEMPORARY,
    Bare,
    Boom,
    Do,
    Worker,
    names,
    note,
)


async def test_start_waits_until_the_actor_is_ready(actor_system: ActorSystem) -> None:
    gate = asyncio.Event()

    class Slow(Worker):
        async def started(self) -> None:
            await gate.wait()

    starting = asyncio.create_task(actor_system.start(Slow, name="slow"))
    await settle()
    assert not starting.done()
    assert actor_system.snapshot().children[0].state == "starting"
    gate.set()
    ref = await starting
    assert ref.alive


async def test_an_actor_without_hooks_starts_at_once(actor_system: ActorSystem) -> None:
    ref = await actor_system.start(Bare)
    assert ref.alive


async def test_a_factory_that_raises_fails_the_start(actor_system: ActorSystem) -> None:
    def factory() -> Worker:
        raise Boom

    with pytest.raises(StartFailed) as spawned:
        actor_system.spawn(factory)
    assert isinstance(spawned.value.__cause__, Boom)
    with pytest.raises(StartFailed) as started:
        await actor_system.start(factory)
    assert isinstance(started.value.__cause__, Boom)
    assert names(actor_system) == []
    assert actor_system.snapshot().tally.crashed == 2


class Unready(Worker):
    def started(self) -> None:
        raise Boom


async def test_started_that_raises_fails_the_start_and_leaves_nothing(
    actor_system: ActorSystem,
) -> None:
    log: list[str] = []
    with pytest.raises(StartFailed) as failed:
        await actor_system.start(lambda: Unready(log), lifecycle=PERMANENT)
    assert isinstance(failed.value.__cause__, Boom)
    assert names(actor_system) == []
    assert log == []  # `stopped` runs only after a successful start
    assert actor_system.snapshot().tally.crashed == 1


async def test_a_spawned_actor_whose_start_fails_has_crashed(actor_system: ActorSystem) -> None:
    ref = actor_system.spawn(Unready)
    down = await ref.join()
    assert down.exit is Exit.CRASHED
    assert isinstance(down.error, Boom)


async def test_start_fails_when_the_actor_is_stopped_meanwhile(
    actor_system: ActorSystem,
) -> None:
    gate = asyncio.Event()

    class Slow(Worker):
        async def started(self) -> None:
            await gate.wait()

    log: list[str] = []
    slow = Slow(log)
    starting = asyncio.create_task(actor_system.start(lambda: slow))
    await settle()
    slow.context.ref.stop()
    gate.set()
    with pytest.raises(StartFailed):
        await starting
    assert log == []


async def test_a_cancelled_wait_for_a_start_does_not_stop_the_actor(
    actor_system: ActorSystem,
) -> None:
    gate = asyncio.Event()

    class Slow(Worker):
        async def started(self) -> None:
            await gate.wait()

    waiting = [asyncio.create_task(actor_system.start(Slow, name="slow"))]
    await settle()
    waiting[0].cancel()
    await settle()
    gate.set()
    await settle()
    assert actor_system.snapshot().children[0].state == "running"


async def test_a_name_is_taken_once(actor_system: ActorSystem) -> None:
    first = actor_system.spawn(Bare, name="n")
    with pytest.raises(NameTaken):
        actor_system.spawn(Bare, name="n")
    first.stop()
    actor_system.spawn(Bare, name="n")


async def test_a_name_is_found_for_a_child_that_has_none(actor_system: ActorSystem) -> None:
    paths = {actor_system.spawn(Bare).path for _ in range(10)}
    assert len(paths) == 10


async def test_an_actor_that_stops_itself_in_started_does_not_run_main(
    actor_system: ActorSystem,
) -> None:
    log: list[str] = []

    class Brief(Worker):
        def started(self) -> None:
            self.context.stop()

        def main(self) -> None:
            self.log.append("main")

    ref = actor_system.spawn(lambda: Brief(log), lifecycle=TEMPORARY)
    assert (await ref.join()).exit is Exit.NORMAL
    assert log == ["worker stopped"]


# -- Supervisor ----------------------------------------------------------------------------------


def spec(log: list[str], name: str, kind: type[Worker] = Worker) -> ChildSpec:
    return ChildSpec(name, lambda: kind(log, name), Lifecycle(restart=Restart.PERMANENT))


async def test_a_supervisor_starts_in_order_and_stops_in_reverse(
    actor_system: ActorSystem,
) -> None:
    log: list[str] = []
    ref = await actor_system.start(
        lambda: Supervisor(spec(log, "a"), spec(log, "b"), spec(log, "c"))
    )
    assert log == ["a started", "b started", "c started"]
    log.clear()
    ref.stop()
    await ref.join()
    assert log == ["c stopped", "b stopped", "a stopped"]


async def test_a_supervisor_whose_child_does_not_start_has_not_started(
    actor_system: ActorSystem,
) -> None:
    log: list[str] = []
    with pytest.raises(StartFailed):
        await actor_system.start(
            lambda: Supervisor(spec(log, "a"), spec(log, "b", Unready), spec(log, "c"))
        )
    assert log == ["a started", "a stopped"]
    assert names(actor_system) == []


async def test_start_fails_if_the_actor_is_stopped_as_soon_as_it_has_started(
    actor_system: ActorSystem,
) -> None:
    made: list[Bare] = []

    def make() -> Bare:
        made.append(Bare())
        return made[-1]

    def stop_it(event: Event) -> None:
        if isinstance(event, Started):
            made[-1].context.ref.stop()

    actor_system.subscribe(stop_it)
    with pytest.raises(StartFailed, match="did not start"):
        await actor_system.start(make)
    assert names(actor_system) == []


def unanswered(reply: Reply[None]) -> Do:
    """A question that its actor would not answer."""
    return lambda worker: None


async def test_started_that_rejects_ends_without_a_crash(
    actor_system: ActorSystem, actor_events: list[Event]
) -> None:
    """A rejection ends the actor and its children, fails the start and answers who asked."""
    log: list[str] = []
    refused = LookupError("no such thing")

    class Picky(Worker):
        async def started(self) -> None:
            await self.context.start(lambda: Worker(log, "child"))
            await asyncio.sleep(0)
            raise Rejected(refused)

    ref = actor_system.spawn(lambda: Picky(log, "picky"), name="picky")
    ref.tell(note(log, "never"))
    with pytest.raises(LookupError) as answered:
        await ref.ask(unanswered, timeout=1.0)
    assert answered.value is refused
    down = await ref.join()
    assert (down.exit, type(down.error)) == (Exit.NORMAL, Rejected)
    assert log == ["child started", "child stopped", "picky child_ended 1 shutdown"]
    assert actor_system.snapshot().tally.crashed == 0
    assert not [event for event in actor_events if isinstance(event, Crashed)]
    assert actor_system.dead_letters == 2
    with pytest.raises(StartFailed, match="no such thing"):
        await actor_system.start(lambda: Picky(log, "picky"))


async def test_a_question_that_started_has_taken_is_answered_by_its_rejection(
    actor_system: ActorSystem,
) -> None:
    """An ask that was read with `next` before the rejection gets the same answer as the others."""

    class Reader(Bare):
        async def started(self) -> None:
            await self.context.next()
            raise Rejected(LookupError("no such thing"))

    ref = actor_system.spawn(Reader)
    with pytest.raises(LookupError):
        await ref.ask(unanswered, timeout=1.0)


async def test_a_rejection_outside_of_the_start_is_a_crash(actor_system: ActorSystem) -> None:
    """Only `started` can reject: a handler that raises Rejected has crashed."""

    def reject(worker: Worker) -> None:
        raise Rejected(LookupError("too late"))

    ref = actor_system.spawn(Bare, lifecycle=TEMPORARY)
    ref.tell(reject)
    assert (await ref.join()).exit is Exit.CRASHED


async def test_an_actor_that_is_stopped_as_soon_as_it_is_ready_does_not_run_main(
    actor_system: ActorSystem, actor_events: list[Event]
) -> None:
    """An observer of the start may stop the actor; `stopped` runs and `main` does not."""
    log: list[str] = []

    class Main(Worker):
        async def main(self) -> None:
            self.log.append("main")

    ref = actor_system.spawn(lambda: Main(log))
    end = actor_system.subscribe(lambda event: ref.stop() if isinstance(event, Started) else None)
    await ref.join()
    end()
    assert log == ["worker started", "worker stopped"]
