"""Random trees under random crashes, stops and restarts, compared with a small model.

For each actor, the model knows its parent, its restart type, whether it is alive, and the numbers
that it was sent and has handled.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from actors import (
    ActorRef,
    ActorSnapshot,
    ActorSystem,
    Backoff,
    Exit,
    Intensity,
    Lifecycle,
    Restart,
    Strategy,
    Supervision,
)
from actors.testing import LeakCheck, ManualClock
from tests.support.kit import Do, Worker, boom

NEVER_TOO_OFTEN = Intensity(restarts=10**6, period=1.0)
PAUSE = 1.0
STEADY = Backoff(initial=PAUSE, factor=1.0, jitter=0.0)


class ForOne(Worker):
    supervision = Supervision(intensity=NEVER_TOO_OFTEN)


class ForAll(Worker):
    supervision = Supervision(strategy=Strategy.ONE_FOR_ALL, intensity=NEVER_TOO_OFTEN)


class ForRest(Worker):
    supervision = Supervision(strategy=Strategy.REST_FOR_ONE, intensity=NEVER_TOO_OFTEN)


KINDS = (ForOne, ForAll, ForRest)


@dataclass
class Known:
    """One actor in the model."""

    name: str
    kind: type[Worker]
    restart: Restart
    parent: "Known | None"
    ref: ActorRef[Do]
    made: list[Worker]
    children: "list[Known]" = field(default_factory=list)
    alive: bool = True
    told: list[int] = field(default_factory=list)
    handled: list[int] = field(default_factory=list)
    downs: int = 0

    def whole(self) -> "list[Known]":
        """Return this actor and all below it."""
        return [self, *(below for child in self.children for below in child.whole())]

    def end(self) -> None:
        """Mark this actor and all below it as ended."""
        for known in self.whole():
            known.alive = False
        if self.parent is not None:
            self.parent.children.remove(self)

    def crash(self) -> None:
        """Do what its supervisor's strategy prescribes after a crash."""
        for child in list(self.children):
            child.end()
        if self.restart is Restart.TEMPORARY:
            self.end()
            return
        if self.parent is None or self.parent.kind is ForOne:
            return
        siblings = self.parent.children
        first = 0 if self.parent.kind is ForAll else siblings.index(self)
        for sibling in siblings[first:]:
            if sibling is self:
                continue
            if sibling.restart is Restart.TEMPORARY:
                sibling.end()
            else:
                for child in list(sibling.children):
                    child.end()


def shape(snapshot: ActorSnapshot) -> list[tuple[str, str]]:
    """List the names and states of all actors, parents before their children."""
    return [
        (snapshot.name, snapshot.state),
        *(line for child in snapshot.children for line in shape(child)),
    ]


class Trees(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.run = self.runner.run
        self.clock = ManualClock()
        self.known: list[Known] = []
        self.count = 0
        self.run(self.begin())

    async def begin(self) -> None:
        self.check = LeakCheck()
        self.system = ActorSystem(clock=self.clock, random=Random(0))
        self.check.add(self.system)
        self.add(None, ForOne, Restart.PERMANENT)
        await self.clock.settle()

    def add(self, parent: Known | None, kind: type[Worker], restart: Restart) -> None:
        made: list[Worker] = []

        def factory() -> Worker:
            made.append(kind())
            return made[-1]

        name = f"n{len(self.known)}"
        spawn = self.system.spawn if parent is None else parent.made[-1].context.spawn
        lifecycle = Lifecycle(restart=restart, backoff=STEADY, capacity=64)
        ref = spawn(factory, name=name, lifecycle=lifecycle)
        known = Known(name, kind, restart, parent, ref, made)

        def gone(down: object) -> None:
            known.downs += 1

        known.ref.watch(gone)
        self.known.append(known)
        if parent is not None:
            parent.children.append(known)

    def alive(self) -> list[Known]:
        return [known for known in self.known if known.alive]

    async def send(self, known: Known) -> None:
        self.count += 1
        number = self.count
        known.told.append(number)
        await known.ref.send(lambda worker: known.handled.append(number))

    @precondition(lambda self: len(self.alive()) < 12)
    @rule(which=st.integers(0, 99), kind=st.sampled_from(KINDS), restart=st.sampled_from(Restart))
    def spawn(self, which: int, kind: type[Worker], restart: Restart) -> None:
        parents = self.alive()
        if parents:
            self.run(self.settled(lambda: self.add(parents[which % len(parents)], kind, restart)))

    @rule(which=st.integers(0, 99), before=st.integers(0, 3), after=st.integers(0, 3))
    def crash(self, which: int, before: int, after: int) -> None:
        """Send messages, crash the actor, and send more, which wait for the restart."""
        if not self.alive():
            return
        known = self.alive()[which % len(self.alive())]

        async def act() -> None:
            for _ in range(before):
                await self.send(known)
            await known.ref.send(boom)
            if known.restart is not Restart.TEMPORARY:
                for _ in range(after):
                    await self.send(known)

        self.run(self.settled(act))
        known.crash()

    @rule(which=st.integers(1, 99), kill=st.booleans())
    def stop(self, which: int, kill: bool) -> None:
        if len(self.alive()) < 2:
            return
        others = self.alive()[1:]
        known = others[which % len(others)]
        self.run(self.settled(known.ref.kill if kill else known.ref.stop))
        known.end()

    @rule(which=st.integers(0, 99), number=st.integers(1, 5))
    def tell_some(self, which: int, number: int) -> None:
        if self.alive():
            known = self.alive()[which % len(self.alive())]

            async def act() -> None:
                for _ in range(number):
                    await self.send(known)

            self.run(self.settled(act))

    async def settled(self, act: Callable[[], Awaitable[None] | None]) -> None:
        """Run `act`, and let the restarts that follow come due."""
        doing = act()
        if doing is not None:
            await self.clock.until(doing)
        await self.clock.advance(5 * PAUSE)

    @invariant()
    def the_tree_matches_the_model(self) -> None:
        root = self.known[0]
        expected = [(known.name, "running") for known in root.whole()] if root.alive else []
        assert shape(self.system.snapshot())[1:] == expected

    @invariant()
    def nothing_told_is_lost_and_order_is_kept(self) -> None:
        for known in self.known:
            assert known.handled == known.told
            assert known.downs == (0 if known.alive else 1)

    @invariant()
    def idle_actors_have_no_task(self) -> None:
        assert self.system.statistics().tasks == 0
        assert self.clock.pending == 0

    def teardown(self) -> None:
        async def end() -> None:
            await self.clock.until(self.system.stop())
            await self.check.check()
            for known in self.known[:1]:
                assert (await known.ref.join()).exit in (Exit.SHUTDOWN, Exit.CRASHED)

        self.run(end())
        self.runner.close()


def test_random_trees_agree_with_the_model() -> None:
    run_state_machine_as_test(
        Trees,
        settings=settings(
            max_examples=25,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
