import asyncio
from random import Random

from actors import (
    ActorRef,
    ActorSystem,
    Backoff,
    ChildGivenUp,
    Crashed,
    Event,
    Exit,
    GivenUp,
    Intensity,
    Lifecycle,
    Supervision,
)
from actors.runtime.supervision import Record, RestartWindow
from actors.testing import ManualClock, running_system, settle
from tests.support.kit import (
    PERMANENT,
    STEADY,
    TEMPORARY,
    TIRELESS,
    Bare,
    Boom,
    Do,
    Worker,
    boom,
    note,
)

# -- backoff -------------------------------------------------------------------------------------


async def crash_and_wait(ref: ActorRef[Do], clock: ManualClock) -> float:
    """Crash the actor, and return the pause before its restart in seconds."""
    log: list[str] = []
    began = clock.now()
    ref.tell(boom)
    await ref.send(note(log, "back"))
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


async def test_the_restart_is_due_exactly_after_the_pause(
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


async def test_an_actor_that_ran_well_is_restarted_after_a_short_pause_again(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    ref = actor_system.spawn(Bare, lifecycle=TIRELESS)
    assert [await crash_and_wait(ref, manual_clock) for _ in range(3)] == [1, 2, 4]
    await manual_clock.advance(63.0)
    assert await crash_and_wait(ref, manual_clock) == 8
    await manual_clock.advance(64.0)
    assert await crash_and_wait(ref, manual_clock) == 1


def test_an_initial_pause_of_zero_means_no_pauses() -> None:
    assert Backoff(initial=0.0).pause(7, Random(0)) == 0.0


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
    window = RestartWindow()
    intensity = Intensity(restarts=2, period=10.0)
    assert window.allows(intensity, 0.0)
    assert window.allows(intensity, 5.0)
    assert window.allows(intensity, 10.0)  # the restart at 0.0 no longer counts
    assert not window.allows(intensity, 14.9)
    assert not RestartWindow().allows(Intensity(restarts=0), 0.0)


async def test_a_child_with_its_own_intensity_is_given_up_alone(
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


async def test_a_restarted_supervisor_begins_a_new_restart_window(
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
    assert made[1].a.alive  # although there were five crashes within ten seconds
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
        if made[-1].a.state == "running":
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
            other.stop()  # its down waits until `main` ends, and must not delay GivenUp
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


async def test_an_actor_is_given_up_even_if_nobody_listens(
    manual_clock: ManualClock,
) -> None:
    async with running_system(manual_clock) as system:
        own = Intensity(restarts=0, period=1.0)
        ref = system.spawn(Bare, lifecycle=Lifecycle(intensity=own))
        ref.tell(boom)
        assert (await ref.join()).exit is Exit.CRASHED
        assert system.snapshot().tally.given_up == 1
