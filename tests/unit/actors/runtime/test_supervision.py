import asyncio
from itertools import pairwise

import pytest

from actors import (
    ActorSystem,
    Backoff,
    Crashed,
    Event,
    Exit,
    Intensity,
    Lifecycle,
    NormalEnd,
    Restart,
    Restarted,
)
from actors.testing import ManualClock, settle
from tests.support.kit import (
    PERMANENT,
    STEADY,
    TEMPORARY,
    TIRELESS,
    TRANSIENT,
    Bare,
    Boom,
    Do,
    Worker,
    boom,
    note,
    sending,
    tasks_of_actors,
)

# -- what a restart keeps ------------------------------------------------------------------------


async def test_a_restart_keeps_ref_mailbox_and_order_and_drops_the_message(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    log: list[str] = []
    crashes = 0

    def crash_once(worker: Worker) -> None:
        nonlocal crashes
        crashes += 1
        raise Boom

    ref = actor_system.spawn(lambda: Worker(log), lifecycle=PERMANENT)
    ref.tell(note(log, "a"))
    await ref.send(crash_once)
    await ref.send(note(log, "b"))
    await settle()
    while_it_pauses = sending(ref, note(log, "c"))
    assert ref.alive
    await manual_clock.advance(1.0)
    await while_it_pauses
    ref.tell(note(log, "d"))
    await settle()
    assert crashes == 1
    assert log == [
        "worker started", "a", "worker stopped", "worker started", "b", "c", "d"
    ]  # fmt: skip


async def test_a_restart_makes_a_new_object(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    made: list[Worker] = []

    def factory() -> Worker:
        made.append(Worker())
        return made[-1]

    ref = actor_system.spawn(factory, lifecycle=PERMANENT)
    ref.tell(boom)
    await manual_clock.advance(1.0)
    assert len(made) == 2
    assert made[0] is not made[1]


async def test_a_handler_that_raises_cancelled_by_itself_crashes(
    actor_system: ActorSystem, manual_clock: ManualClock, actor_events: list[Event]
) -> None:
    log: list[str] = []
    ref = actor_system.spawn(Bare, name="w", lifecycle=PERMANENT)

    async def meet_a_cancelled_future(worker: Worker) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    ref.tell(meet_a_cancelled_future)
    await ref.send(note(log, "next"))
    await manual_clock.advance(1.0)
    assert log == ["next"]
    crash = next(event for event in actor_events if isinstance(event, Crashed))
    assert isinstance(crash.error, asyncio.CancelledError)
    assert actor_system.snapshot().children[0].restarts == 1


async def test_any_base_exception_is_a_crash(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    class Odd(BaseException):
        pass

    def odd(worker: Worker) -> None:
        raise Odd

    parent = Worker(name="parent")
    actor_system.spawn(lambda: parent)
    await settle()
    ref = parent.context.spawn(Bare, lifecycle=PERMANENT)
    ref.tell(odd)
    await manual_clock.advance(1.0)
    assert ref.alive
    assert actor_system.snapshot().children[0].children[0].restarts == 1


async def test_the_crash_is_reported_with_the_message_and_the_pause(
    actor_system: ActorSystem, manual_clock: ManualClock, actor_events: list[Event]
) -> None:
    ref = actor_system.spawn(Bare, name="w", lifecycle=PERMANENT)
    ref.tell(boom)
    await manual_clock.advance(1.0)
    crash = next(event for event in actor_events if isinstance(event, Crashed))
    assert (crash.path, crash.message, crash.restart_in) == ("system/w", "function", 1.0)
    assert isinstance(crash.error, Boom)
    assert actor_events[-1] == Restarted("system/w", 1)


async def test_children_end_before_the_restart(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    log: list[str] = []

    class Parent(Worker):
        def started(self) -> None:
            self.log.append("parent started")
            self.context.spawn(lambda: Worker(self.log, "a"), name="a")
            self.context.spawn(lambda: Worker(self.log, "b"), name="b")

    ref = actor_system.spawn(lambda: Parent(log, "parent"), lifecycle=PERMANENT)
    await settle()
    log.clear()
    ref.tell(boom)
    await settle()
    assert log == [
        "b stopped", "parent child_ended b shutdown",
        "a stopped", "parent child_ended a shutdown", "parent stopped",
    ]  # fmt: skip
    log.clear()
    await manual_clock.advance(1.0)
    assert log == ["parent started", "a started", "b started"]


async def test_stopped_that_raises_before_a_restart_hides_nothing(
    actor_system: ActorSystem, manual_clock: ManualClock, actor_events: list[Event]
) -> None:
    class Untidy(Worker):
        async def stopped(self) -> None:
            raise asyncio.CancelledError

    ref = actor_system.spawn(Untidy, lifecycle=PERMANENT)
    ref.tell(boom)
    await manual_clock.advance(1.0)
    assert ref.alive
    crashes = [event for event in actor_events if isinstance(event, Crashed)]
    assert [(crash.message, type(crash.error)) for crash in crashes] == [
        ("function", Boom), ("stopped", asyncio.CancelledError)
    ]  # fmt: skip
    ref.kill()


# -- when the start of a restart fails -----------------------------------------------------------


async def test_started_that_fails_at_a_restart_is_tried_again_with_backoff(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    starts: list[float] = []

    class Flaky(Worker):
        def started(self) -> None:
            starts.append(manual_clock.now())
            if 1 < len(starts) < 4:
                raise Boom

    log: list[str] = []
    ref = actor_system.spawn(lambda: Flaky(log), lifecycle=TIRELESS)
    ref.tell(boom)
    await ref.send(note(log, "kept"))
    await manual_clock.advance(100.0)
    assert starts == [0.0, 1.0, 3.0, 7.0]
    assert log == ["worker stopped", "kept"]  # `stopped` ran only for the object that had started
    assert actor_system.snapshot().children[0].restarts == 3


async def test_a_factory_that_fails_at_a_restart_is_tried_again(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    calls = 0

    def factory() -> Worker:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise Boom
        return Worker()

    ref = actor_system.spawn(factory, lifecycle=PERMANENT)
    ref.tell(boom)
    await manual_clock.advance(3.0)
    assert calls == 3
    assert actor_system.snapshot().children[0].state == "running"


async def test_failing_starts_do_not_pass_for_running_well(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    starts: list[float] = []

    class Broken(Worker):
        def started(self) -> None:
            starts.append(manual_clock.now())
            if len(starts) > 1:
                raise Boom

    backoff = Backoff(initial=1.0, factor=2.0, maximum=8.0, jitter=0.0)
    ref = actor_system.spawn(
        Broken, lifecycle=Lifecycle(backoff=backoff, intensity=Intensity(1000, 1.0))
    )
    ref.tell(boom)
    await manual_clock.advance(60.0)
    pauses = [after - before for before, after in pairwise(starts)]
    assert pauses == [1, 2, 4, 8, 8, 8, 8, 8, 8]


# -- which actors are restarted --------------------------------------------------------------------


def finish(worker: Worker) -> None:
    worker.context.stop()


@pytest.mark.parametrize(
    ("restart", "message", "restarted"),
    [
        (Restart.PERMANENT, boom, True),
        (Restart.PERMANENT, finish, True),
        (Restart.TRANSIENT, boom, True),
        (Restart.TRANSIENT, finish, False),
        (Restart.TEMPORARY, boom, False),
        (Restart.TEMPORARY, finish, False),
    ],
)
async def test_who_is_restarted(
    actor_system: ActorSystem,
    manual_clock: ManualClock,
    restart: Restart,
    message: "Do",
    restarted: bool,
) -> None:
    ref = actor_system.spawn(Worker, lifecycle=Lifecycle(restart=restart, backoff=STEADY))
    ref.tell(message)
    await manual_clock.advance(1.0)
    assert ref.alive is restarted
    if restarted:
        assert actor_system.snapshot().children[0].restarts == 1
    else:
        expected = Exit.CRASHED if message is boom else Exit.NORMAL
        assert (await ref.join()).exit is expected


@pytest.mark.parametrize("lifecycle", [PERMANENT, TRANSIENT, TEMPORARY])
async def test_an_actor_that_was_told_to_stop_is_not_restarted(
    actor_system: ActorSystem, manual_clock: ManualClock, lifecycle: Lifecycle
) -> None:
    ref = actor_system.spawn(Worker, lifecycle=lifecycle)
    await settle()
    ref.stop()
    await manual_clock.advance(10.0)
    assert (await ref.join()).exit is Exit.SHUTDOWN


async def test_a_permanent_actor_that_ends_crashes_with_normal_end(
    actor_system: ActorSystem, manual_clock: ManualClock, actor_events: list[Event]
) -> None:
    ref = actor_system.spawn(Bare, lifecycle=PERMANENT)
    ref.tell(finish)
    await manual_clock.advance(1.0)
    crash = next(event for event in actor_events if isinstance(event, Crashed))
    assert isinstance(crash.error, NormalEnd)


async def test_one_crash_hurts_no_sibling(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    log: list[str] = []
    one = actor_system.spawn(lambda: Worker(log, "one"), lifecycle=PERMANENT)
    two = actor_system.spawn(lambda: Worker(log, "two"), lifecycle=PERMANENT)
    await settle()
    log.clear()
    one.tell(boom)
    two.tell(note(log, "two at work"))
    await manual_clock.advance(1.0)
    assert log == ["one stopped", "two at work", "one started"] or log == [
        "two at work", "one stopped", "one started"
    ]  # fmt: skip


async def test_restart_never_makes_a_crash_the_end(actor_system: ActorSystem) -> None:
    ref = actor_system.spawn(Bare, lifecycle=PERMANENT)
    ref.restart_never()
    ref.restart_never()
    ref.tell(boom)
    assert (await ref.join()).exit is Exit.CRASHED


# -- a restart without a pause -------------------------------------------------------------------

AT_ONCE = Lifecycle(backoff=Backoff(initial=0.0))


class Starting(Bare):
    """Has a `started` hook and no `stopped` hook."""

    async def started(self) -> None: ...


async def pass_in_a_task(worker: Worker) -> None: ...


async def boom_in_a_task(worker: Worker) -> None:
    raise Boom


@pytest.mark.parametrize("crash", [boom, boom_in_a_task])
@pytest.mark.parametrize("kind", [Bare, Starting, Worker])
async def test_without_a_pause_the_next_message_is_handled_by_the_next_object(
    actor_system: ActorSystem, kind: type[Bare | Worker], crash: Do
) -> None:
    made: list[Bare | Worker] = []
    seen: list[object] = []

    def factory() -> Bare | Worker:
        made.append(kind())
        return made[-1]

    ref = actor_system.spawn(factory, lifecycle=AT_ONCE)
    await settle()
    ref.tell(crash)
    await settle()
    await sending(ref, seen.append, pass_in_a_task, crash, seen.append)
    await settle()
    assert seen == made[1:]
    assert tasks_of_actors() == 0


async def test_an_actor_that_stops_itself_and_crashes_in_the_same_message_has_crashed(
    actor_system: ActorSystem,
) -> None:
    def stop_and_crash(worker: Worker) -> None:
        worker.context.ref.stop()
        raise Boom

    ref = actor_system.spawn(Bare, lifecycle=AT_ONCE)
    ref.tell(stop_and_crash)
    assert (await ref.join()).exit is Exit.CRASHED


async def test_an_actor_that_an_observer_of_its_crash_stops_is_not_restarted(
    actor_system: ActorSystem,
) -> None:
    ref = actor_system.spawn(Bare, lifecycle=AT_ONCE)

    def stop(event: Event) -> None:
        if isinstance(event, Crashed):
            ref.stop()

    end = actor_system.subscribe(stop)
    ref.tell(boom)
    await settle()
    end()
    assert not ref.alive
    assert tasks_of_actors() == 0


async def test_an_actor_that_an_observer_of_its_restart_stops_ends(
    actor_system: ActorSystem,
) -> None:
    ref = actor_system.spawn(Bare, lifecycle=AT_ONCE)

    def stop(event: Event) -> None:
        if isinstance(event, Restarted):
            ref.stop()

    end = actor_system.subscribe(stop)
    ref.tell(boom)
    assert (await ref.join()).exit is Exit.SHUTDOWN
    end()


@pytest.mark.parametrize("faults", [1, 10])
async def test_a_factory_that_fails_at_a_restart_is_tried_again_within_the_intensity(
    actor_system: ActorSystem, faults: int
) -> None:
    log: list[str] = []
    left = 0

    def factory() -> Bare:
        nonlocal left
        if left:
            left -= 1
            raise Boom
        return Bare()

    lifecycle = Lifecycle(backoff=Backoff(initial=0.0), intensity=Intensity(restarts=5, period=1.0))
    ref = actor_system.spawn(factory, lifecycle=lifecycle)
    left = faults
    ref.tell(boom)
    await settle()
    ref.tell(note(log, "a"))
    await settle()
    assert ref.alive == (faults == 1)
    assert log == ["a"] * (faults == 1)


async def test_an_actor_that_its_own_factory_stops_is_not_started_again(
    actor_system: ActorSystem,
) -> None:
    made = 0

    def factory() -> Bare:
        nonlocal made
        made += 1
        if made > 1:
            ref.stop()
        return Bare()

    ref = actor_system.spawn(factory, lifecycle=AT_ONCE)
    ref.tell(boom)
    assert (await ref.join()).exit is Exit.SHUTDOWN
    assert made == 2


class Slow(Worker):
    """Takes a turn of the loop to start."""

    async def started(self) -> None:
        self.log.append("begins")
        await asyncio.sleep(0)


async def test_a_restart_that_is_due_at_once_starts_the_actor_once(
    actor_system: ActorSystem, manual_clock: ManualClock, actor_events: list[Event]
) -> None:
    """The actor starts once even if its task has not yet gone idle, as on a busy loop."""
    log: list[str] = []
    ref = actor_system.spawn(lambda: Slow(log), lifecycle=PERMANENT)
    await settle()
    ref.tell(boom)
    cell = ref._cell
    while cell.limit is None:  # noqa: ASYNC110 - turn by turn
        await asyncio.sleep(0)
    waits = cell.task is not None
    cell.resume()
    await settle()
    assert waits, "the task is still there"
    assert log.count("begins") == 2
    assert [event.restarts for event in actor_events if isinstance(event, Restarted)][-1:] == [1]
    assert len([event for event in actor_events if isinstance(event, Crashed)]) == 1
