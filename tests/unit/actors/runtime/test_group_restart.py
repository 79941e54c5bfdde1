"""one_for_all and rest_for_one: which siblings a crash restarts, and in which order."""

import asyncio
from dataclasses import replace

import pytest

from actors import (
    Actor,
    ActorRef,
    ActorSystem,
    AskDropped,
    Backoff,
    ChildGivenUp,
    ChildSpec,
    Event,
    Exit,
    Intensity,
    Lifecycle,
    Reply,
    Restart,
    Stopped,
    Strategy,
    Stuck,
    Supervision,
    Supervisor,
)
from actors.testing import LeakCheck, ManualClock, settle
from tests.support.kit import (
    Bare,
    Boom,
    Do,
    Worker,
    boom,
    for_ever,
    note,
    sending,
    tasks_of_actors,
    wait_for,
)

QUICK = Lifecycle(backoff=Backoff(initial=1.0, factor=1.0, jitter=0.0), shutdown=5.0)
CHILDREN = ("a", "b", "c", "d")


class Group(Supervisor):
    supervision = Supervision(
        strategy=Strategy.ONE_FOR_ALL, intensity=Intensity(restarts=3, period=10.0)
    )


class Rest(Supervisor):
    supervision = Supervision(strategy=Strategy.REST_FOR_ONE)


class Member(Worker):
    """Fails at its next start if `failing` contains its name."""

    failing: set[str] = set()  # noqa: RUF012 - each name is removed when its start fails

    def started(self) -> None:
        if self.name in self.failing:
            self.failing.discard(self.name)
            self.log.append(f"{self.name} failed")
            raise Boom
        super().started()


class Team:
    """A supervisor with children a to d, and a log of what they did."""

    def __init__(
        self, system: ActorSystem, kind: type[Supervisor], lifecycles: dict[str, Lifecycle]
    ) -> None:
        self.log: list[str] = []
        self.made: list[Member] = []
        self.members: dict[str, Member] = {}
        specs = [
            ChildSpec(name, self.factory(name), lifecycles.get(name, QUICK)) for name in CHILDREN
        ]
        self.ref = system.spawn(lambda: kind(*specs), name="team")

    def factory(self, name: str) -> "type[Actor[Do]]":
        def make() -> Member:
            self.members[name] = Member(self.log, name)
            return self.members[name]

        return make  # type: ignore[return-value]  # ChildSpec accepts any factory

    def __getitem__(self, name: str) -> ActorRef[Do]:
        return self.members[name].context.ref


async def team_of(system: ActorSystem, kind: type[Supervisor], **lifecycles: Lifecycle) -> Team:
    team = Team(system, kind, lifecycles)
    await settle()
    assert team.log == [f"{name} started" for name in CHILDREN]
    team.log.clear()
    return team


async def test_one_for_all_stops_in_reverse_and_starts_in_order(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    team = await team_of(actor_system, Group)
    team["b"].tell(boom)
    await settle()
    assert team.log == ["b stopped", "d stopped", "c stopped", "a stopped"]
    await manual_clock.advance(1.0)
    assert team.log[4:] == ["a started", "b started", "c started", "d started"]
    assert tasks_of_actors() == 0


async def test_rest_for_one_leaves_those_before_it_alone(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    team = await team_of(actor_system, Rest)
    first = team.members["a"]
    team["c"].tell(boom)
    await manual_clock.advance(1.0)
    assert team.log == ["c stopped", "d stopped", "c started", "d started"]
    assert team.members["a"] is first


async def test_refs_and_mailboxes_outlive_the_restart_of_a_sibling(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    team = await team_of(actor_system, Group)
    gate = asyncio.Event()
    downs: list[object] = []
    ref = team["c"]
    ref.watch(downs.append)
    ref.tell(wait_for(gate))
    before = sending(ref, *(note(team.log, str(index)) for index in range(3)))
    await settle()
    team["a"].tell(boom)
    await settle()

    async def send_another() -> None:
        await before
        await ref.send(note(team.log, "3"))

    after = asyncio.create_task(send_another())
    await settle()
    assert team.log == ["a stopped", "d stopped"]  # c may finish the message that it is handling
    gate.set()
    await manual_clock.advance(1.0)
    assert [line for line in team.log if line.isdigit()] == ["0", "1", "2", "3"]
    assert team.log.index("c started") < team.log.index("0")
    assert downs == []
    assert team["c"] == ref
    await after


async def test_a_sibling_past_its_limit_is_cancelled_and_started_again(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    team = await team_of(actor_system, Group)
    team["c"].tell(for_ever)
    team["a"].tell(boom)
    await manual_clock.advance(4.9)
    assert team.log == ["a stopped", "d stopped"]
    await manual_clock.advance(0.2)
    assert team.log == ["a stopped", "d stopped", "b stopped"]  # `stopped` did not run in c
    await manual_clock.advance(1.0)
    assert team.log[3:] == [f"{name} started" for name in CHILDREN]


async def test_a_sibling_with_no_time_to_stop_is_cancelled_at_once(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    at_once = Lifecycle(shutdown=0.0)
    team = await team_of(actor_system, Group, c=at_once, d=at_once)
    team["c"].tell(for_ever)
    await settle()
    team["a"].tell(boom)
    await manual_clock.advance(1.0)
    assert team.log[-4:] == [f"{name} started" for name in CHILDREN]


async def test_a_sibling_that_swallows_its_cancellation_is_left_behind(
    manual_clock: ManualClock, actor_events: list[Event], leak_check: LeakCheck
) -> None:
    system = ActorSystem(clock=manual_clock, observer=actor_events.append, kill_grace=3.0)
    leak_check.add(system)
    team = await team_of(system, Group)
    gate = asyncio.Event()

    async def swallow(worker: Worker) -> None:
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue

    team["c"].tell(swallow)
    team["a"].tell(boom)
    await manual_clock.advance(10.0)
    assert Stuck("system/team/c", "function", 3.0) in actor_events
    assert Stopped("system/team/c", Exit.KILLED) in actor_events
    assert team.log[-3:] == ["a started", "b started", "d started"]
    gate.set()
    await manual_clock.until(system.stop())


async def test_an_asker_hears_that_the_answer_will_not_come(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    team = await team_of(actor_system, Group)

    def keep(reply: Reply[None]) -> Do:
        return lambda worker: None  # never answers

    question = asyncio.create_task(team["c"].ask(keep, timeout=60.0))
    await settle()
    team["a"].tell(boom)
    with pytest.raises(AskDropped, match="restarted"):
        await question


async def test_a_temporary_sibling_is_stopped_for_good(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    team = await team_of(actor_system, Group, b=Lifecycle(restart=Restart.TEMPORARY))
    ref = team["b"]
    team["d"].tell(boom)
    await manual_clock.advance(1.0)
    assert (await ref.join()).exit is Exit.SHUTDOWN
    assert team.log[-3:] == ["a started", "c started", "d started"]


async def test_a_failed_start_begins_the_group_restart_anew(
    actor_system: ActorSystem, manual_clock: ManualClock, actor_events: list[Event]
) -> None:
    team = await team_of(actor_system, Group)
    Member.failing.add("c")
    team["a"].tell(boom)
    await manual_clock.advance(1.0)
    assert team.log[4:] == ["a started", "b started", "c failed", "b stopped", "a stopped"]
    await manual_clock.advance(1.0)
    assert team.log[-4:] == [f"{name} started" for name in CHILDREN]
    assert not [event for event in actor_events if isinstance(event, ChildGivenUp)]


async def test_two_crashes_at_once_are_one_restart(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    team = await team_of(actor_system, Rest)
    team["d"].tell(boom)
    team["b"].tell(boom)
    await manual_clock.advance(1.0)
    assert team.log[-3:] == ["b started", "c started", "d started"]
    assert "a started" not in team.log


async def test_the_intensity_is_the_supervisors(
    actor_system: ActorSystem, manual_clock: ManualClock, actor_events: list[Event]
) -> None:
    team = await team_of(actor_system, Group)
    for _ in range(4):
        team["a"].tell(boom)
        await manual_clock.advance(1.5)
    given_up = [event for event in actor_events if isinstance(event, ChildGivenUp)]
    assert [(event.path, event.escalated) for event in given_up] == [("system/team/a", True)]
    assert team.log[-4:] == [f"{name} started" for name in CHILDREN]  # restarted by the root


async def test_a_stop_ends_a_restart_that_is_under_way(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    team = await team_of(actor_system, Group)
    gate = asyncio.Event()
    team["c"].tell(wait_for(gate))
    team["a"].tell(boom)
    await settle()
    team.ref.stop()
    gate.set()
    assert (await team.ref.join()).exit is Exit.SHUTDOWN
    assert tasks_of_actors() == 0
    assert sorted(team.log) == [f"{name} stopped" for name in CHILDREN]


async def test_a_child_stopped_meanwhile_is_not_started_again(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    team = await team_of(actor_system, Group)
    first, last = team["a"], team["d"]
    first.tell(boom)
    await settle()
    first.stop()
    last.stop()
    await manual_clock.advance(1.0)
    assert not first.alive
    assert not last.alive
    assert team.log[-2:] == ["b started", "c started"]


async def test_a_message_that_waits_for_the_next_is_ended_for_the_restart(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    team = await team_of(actor_system, Group)

    async def take(worker: Worker) -> None:
        await worker.context.next()

    team["d"].tell(take)
    await settle()
    team["a"].tell(boom)
    await manual_clock.advance(0.5)
    assert team.log == ["a stopped", "d stopped", "c stopped", "b stopped"]


async def test_the_stopped_hook_of_a_sibling_has_its_limit(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    class Hanging(Bare):
        async def stopped(self) -> None:
            await asyncio.Event().wait()

    made: list[Hanging] = []

    def factory() -> Hanging:
        made.append(Hanging())
        return made[-1]

    specs = [ChildSpec("a", Bare, QUICK), ChildSpec("hanging", factory, QUICK)]
    actor_system.spawn(lambda: Group(*specs), name="team")
    await settle()
    refs = {child.name for child in actor_system.snapshot().children[0].children}
    assert refs == {"a", "hanging"}
    made[0].context._cell.parent.children.members["a"].ref.tell(boom)  # type: ignore[union-attr]  # it has a parent
    await manual_clock.advance(4.9)
    assert len(made) == 1
    await manual_clock.advance(1.5)
    assert len(made) == 2
    await manual_clock.until(actor_system.stop())


async def test_an_idle_sibling_that_is_given_no_time_goes_without_cleaning_up(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    class Tidy(Bare):
        def stopped(self) -> None:
            log.append("stopped")

    log: list[str] = []
    made: list[Tidy] = []

    def make() -> Tidy:
        made.append(Tidy())
        return made[-1]

    crashing = Bare()
    actor_system.spawn(
        lambda: Group(
            ChildSpec("crashing", lambda: crashing, QUICK),
            ChildSpec("idle", make, replace(QUICK, shutdown=0.0)),
        )
    )
    await settle()
    crashing.context.ref.tell(boom)
    await manual_clock.advance(1.0)
    assert len(made) == 2
    assert log == []


async def test_a_sibling_that_is_stopped_while_it_cleans_up_does_not_come_back(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    gate = asyncio.Event()

    class Slow(Member):
        async def stopped(self) -> None:
            await gate.wait()
            self.log.append("slow stopped")

    log: list[str] = []
    slow, crashing = Slow(log, "slow"), Member(log, "crashing")
    actor_system.spawn(
        lambda: Group(
            ChildSpec("crashing", lambda: crashing, QUICK), ChildSpec("slow", lambda: slow, QUICK)
        )
    )
    await settle()
    crashing.context.ref.tell(boom)
    await settle()
    slow.context.ref.stop()
    gate.set()
    await manual_clock.advance(10.0)
    assert log.count("slow stopped") == 1
    assert log[-1] == "crashing started"
    assert not slow.context.ref.alive
