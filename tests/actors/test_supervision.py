import asyncio
from itertools import pairwise
from random import Random

import pytest

from actors import (
    ActorRef,
    ActorSystem,
    AskCrashed,
    Backoff,
    ChildGivenUp,
    Crashed,
    Down,
    Event,
    Exit,
    GivenUp,
    Intensity,
    Lifecycle,
    NormalEnd,
    Order,
    Restart,
    Started,
    StartFailed,
    Supervision,
)
from actors.supervision import Record, RestartBook
from actors.testing import ManualClock, settle
from tests.actors.kit import (
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
    names,
    note,
    wait_for,
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
    ref.tell(crash_once)
    ref.tell(note(log, "b"))
    await settle()
    ref.tell(note(log, "c"))
    assert ref.alive
    await manual_clock.advance(1.0)
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
    ref.tell(note(log, "next"))
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
    assert actor_events[-1] == Started("system/w", 1)


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
    ref.tell(note(log, "kept"))
    await manual_clock.advance(100.0)
    assert starts == [0.0, 1.0, 3.0, 7.0]
    assert log == ["worker stopped", "kept"]  # stopped: once, for the one that had started
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


# -- who is restarted ----------------------------------------------------------------------------


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
async def test_nobody_is_restarted_who_was_told_to_stop(
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


# -- backoff -------------------------------------------------------------------------------------


async def crash_and_wait(ref: ActorRef[Do], clock: ManualClock) -> float:
    """The pause after one more crash."""
    log: list[str] = []
    began = clock.now()
    ref.tell(boom)
    ref.tell(note(log, "back"))
    await settle()
    while not log:
        due = clock.next_due
        assert due is not None
        await clock.advance(due - clock.now())
    return clock.now() - began


async def test_the_pauses_grow_up_to_the_maximum(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    ref = actor_system.spawn(Bare, lifecycle=TIRELESS)
    pauses = [await crash_and_wait(ref, manual_clock) for _ in range(9)]
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 64, 64]


async def test_the_restart_is_due_exactly_then(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    ref = actor_system.spawn(Bare, lifecycle=PERMANENT)
    ref.tell(boom)
    await manual_clock.advance(0.999)
    assert actor_system.snapshot().children[0].state == "paused"
    ref.tell(lambda worker: None)  # a message does not end the pause
    await settle()
    assert actor_system.snapshot().children[0].state == "paused"
    await manual_clock.advance(0.001)
    assert actor_system.snapshot().children[0].state == "running"


async def test_who_ran_well_begins_again_with_a_short_pause(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    ref = actor_system.spawn(Bare, lifecycle=TIRELESS)
    assert [await crash_and_wait(ref, manual_clock) for _ in range(3)] == [1, 2, 4]
    await manual_clock.advance(63.0)
    assert await crash_and_wait(ref, manual_clock) == 8
    await manual_clock.advance(64.0)
    assert await crash_and_wait(ref, manual_clock) == 1


def test_jitter_stays_within_its_share() -> None:
    backoff = Backoff(initial=1.0, factor=2.0, maximum=8.0, jitter=0.25)
    random = Random(7)
    pauses = [backoff.pause(2, random) for _ in range(1000)]
    assert all(3.0 <= pause <= 5.0 for pause in pauses)
    assert min(pauses) < 3.2
    assert max(pauses) > 4.8
    assert backoff.pause(10_000, Random(0)) <= 10.0


def test_the_same_seed_gives_the_same_pauses() -> None:
    first, second = (Record() for _ in range(2))
    backoff = Backoff()
    assert [first.next_pause(backoff, 0.0, Random(3)) for _ in range(5)] == [
        second.next_pause(backoff, 0.0, Random(3)) for _ in range(5)
    ]


# -- intensity -----------------------------------------------------------------------------------


def test_an_intensity_counts_the_restarts_of_its_period() -> None:
    book = RestartBook()
    intensity = Intensity(restarts=2, period=10.0)
    assert book.allows(intensity, 0.0)
    assert book.allows(intensity, 5.0)
    assert book.allows(intensity, 10.0)  # that of 0.0 is past
    assert not book.allows(intensity, 14.9)
    assert not RestartBook().allows(Intensity(restarts=0), 0.0)


async def test_an_intensity_of_its_own_costs_the_child_alone(
    actor_system: ActorSystem, manual_clock: ManualClock, actor_events: list[Event]
) -> None:
    lifecycle = Lifecycle(backoff=STEADY, intensity=Intensity(restarts=2, period=100.0))
    ref = actor_system.spawn(Bare, name="w", lifecycle=lifecycle)
    other = actor_system.spawn(Bare, name="other")
    for _ in range(3):
        ref.tell(boom)
        await manual_clock.advance(10.0)
    down = await ref.join()
    assert down.exit is Exit.CRASHED
    assert isinstance(down.error, Boom)
    given_up = next(event for event in actor_events if isinstance(event, ChildGivenUp))
    assert (given_up.path, given_up.escalated) == ("system/w", False)
    assert other.alive
    tally = actor_system.snapshot().tally
    assert (tally.started, tally.crashed, tally.restarted, tally.given_up, tally.stopped) == (
        2, 3, 2, 1, 1
    )  # fmt: skip


async def test_slow_crashes_never_spend_the_intensity(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    lifecycle = Lifecycle(backoff=STEADY, intensity=Intensity(restarts=1, period=100.0))
    ref = actor_system.spawn(Bare, lifecycle=lifecycle)
    for _ in range(20):
        ref.tell(boom)
        await manual_clock.advance(200.0)
    assert ref.alive
    assert actor_system.snapshot().tally.given_up == 0


class Parent(Worker):
    """A supervisor of workers `a` and `b`, allowing two restarts in ten seconds."""

    supervision = Supervision(intensity=Intensity(restarts=2, period=10.0))
    quick = Lifecycle(backoff=Backoff(initial=0.5, factor=1.0, jitter=0.0))

    def started(self) -> None:
        self.log.append("parent started")
        self.a = self.context.spawn(Bare, name="a", lifecycle=self.quick)
        self.b = self.context.spawn(Bare, name="b", lifecycle=self.quick)

    def alive(self) -> list[bool]:
        return [self.a.alive, self.b.alive]


async def test_siblings_share_the_intensity_and_the_supervisor_crashes_for_them(
    actor_system: ActorSystem, manual_clock: ManualClock, actor_events: list[Event]
) -> None:
    made: list[Parent] = []

    def factory() -> Parent:
        made.append(Parent([], "parent"))
        return made[-1]

    parent = actor_system.spawn(factory, name="parent", lifecycle=PERMANENT)
    await settle()
    made[0].a.tell(boom)
    made[0].b.tell(boom)
    await manual_clock.advance(1.0)
    assert made[0].alive() == [True, True]
    made[0].a.tell(boom)
    await settle()
    assert made[0].alive() == [False, False]
    assert parent.alive
    given_up = next(event for event in actor_events if isinstance(event, ChildGivenUp))
    assert (given_up.path, given_up.escalated) == ("system/parent/a", True)
    crash = [event for event in actor_events if isinstance(event, Crashed)][-1]
    assert crash.path == "system/parent"
    assert isinstance(crash.error, GivenUp)
    assert isinstance(crash.error.__cause__, Boom)
    await manual_clock.advance(1.0)
    assert len(made) == 2
    assert made[1].a.alive


async def test_a_restarted_supervisor_begins_a_new_book(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    made: list[Parent] = []

    def factory() -> Parent:
        made.append(Parent([], "parent"))
        return made[-1]

    actor_system.spawn(factory, name="parent", lifecycle=PERMANENT)
    await settle()
    for _ in range(3):
        made[0].a.tell(boom)
        await manual_clock.advance(0.5)
    await manual_clock.advance(1.0)
    assert len(made) == 2
    for _ in range(2):
        made[1].a.tell(boom)
        await manual_clock.advance(0.5)
    assert made[1].a.alive  # two more within the ten seconds of the first three
    assert len(made) == 2


async def test_a_temporary_child_does_not_count(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    parent = Parent([], "parent")
    ref = actor_system.spawn(lambda: parent, lifecycle=PERMANENT)
    await settle()
    for _ in range(20):
        parent.context.spawn(Bare, lifecycle=TEMPORARY).tell(boom)
    await settle()
    parent.a.tell(boom)
    await manual_clock.advance(1.0)
    assert ref.alive
    assert parent.a.alive
    assert actor_system.snapshot().children[0].tally.crashed == 21


async def test_escalation_goes_up_to_the_root(
    manual_clock: ManualClock, actor_events: list[Event]
) -> None:
    system = ActorSystem(clock=manual_clock, random=Random(0), observer=actor_events.append)
    made: list[Parent] = []

    def factory() -> Parent:
        made.append(Parent([], "parent"))
        return made[-1]

    ref = system.spawn(factory, name="parent")
    failed = asyncio.create_task(system.failed())
    await settle()
    for _ in range(200):
        if failed.done():
            break
        if made[-1].a.alive:
            made[-1].a.tell(boom)
        await manual_clock.advance(0.25)
    error = await failed
    assert isinstance(error, GivenUp)
    assert isinstance(error.__cause__, GivenUp)
    assert isinstance(error.__cause__.__cause__, Boom)
    # The root allows three restarts of `parent`, each of which allows two of `a`.
    assert len(made) == 4
    assert not ref.alive
    assert system.snapshot().state == "stopped"
    await system.stop()
    assert [event.path for event in actor_events if isinstance(event, ChildGivenUp)] == [
        *["system/parent/a"] * 4,
        "system/parent",
    ]


async def test_given_up_reaches_a_main_that_waits(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    caught: list[GivenUp] = []

    class Waiting(Parent):
        async def main(self) -> None:
            other = self.context.spawn(Bare, lifecycle=TEMPORARY)
            self.context.watch(other)
            other.stop()  # its down stays where it is, and stands in nobody's way
            try:
                await self.context.next()
            except GivenUp as given_up:
                caught.append(given_up)
                raise

    made: list[Waiting] = []

    def factory() -> Waiting:
        made.append(Waiting([], "parent"))
        return made[-1]

    ref = actor_system.spawn(factory, lifecycle=PERMANENT)
    await settle()
    for _ in range(3):
        made[0].a.tell(boom)
        await manual_clock.advance(0.5)
    assert len(caught) == 1
    assert isinstance(caught[0].__cause__, Boom)
    assert ref.alive
    await manual_clock.advance(1.0)
    assert len(made) == 2


async def test_a_failed_restart_of_a_child_that_starts_others_is_its_own_crash(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    attempts = 0

    class Unready(Worker):
        def started(self) -> None:
            nonlocal attempts
            attempts += 1
            if attempts == 2:
                raise Boom

    class Grand(Worker):
        async def started(self) -> None:
            await self.context.start(Unready)

    ref = actor_system.spawn(Grand, lifecycle=PERMANENT)
    await settle()
    ref.tell(boom)
    await manual_clock.advance(1.0)
    assert actor_system.snapshot().children[0].state == "paused"
    await manual_clock.advance(2.0)
    assert actor_system.snapshot().children[0].state == "running"
    assert attempts == 3


# -- a stop meanwhile ----------------------------------------------------------------------------


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
    assert (await ref.join()).exit is Exit.KILLED
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
