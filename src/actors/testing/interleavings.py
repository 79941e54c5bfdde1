"""A test run again and again, each time in another order: what may run next, runs when it likes.

A run is decided by its seed alone, time included (a ManualClock), so a failure comes again:

    @interleaved(runs=200)
    async def test_it(system: ActorSystem, clock: ManualClock) -> None: ...

fails with the seed in the error's notes, and `ACTORS_SEED=17 pytest -k test_it` runs that order.
(After FoundationDB's simulation and Coyote's systematic testing; here the orders are random.)
"""

import asyncio
import functools
import os
from collections import deque
from collections.abc import Awaitable, Callable
from random import Random
from typing import Final, TypeAlias

from actors.runtime.runqueue import Runnable, RunQueue
from actors.runtime.system import ActorSystem
from actors.testing.kit import ManualClock, running_system

Test: TypeAlias = "Callable[[ActorSystem, ManualClock], Awaitable[None]]"

SEED: Final = "ACTORS_SEED"
"""The variable of the environment that names the one seed to run."""


class ShuffledLoop(asyncio.SelectorEventLoop):
    """Runs what is ready in any order, some of it a turn or more later than it could."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._ready: list[asyncio.Handle]
        self.held: list[asyncio.Handle] = []
        super().__init__()

    def _run_once(self) -> None:
        handles = list(self._ready)
        self._random.shuffle(handles)
        now = self._random.randint(1, len(handles)) if handles else 0
        self.held = handles[now:]
        self._ready.clear()
        self._ready.extend(handles[:now])
        try:
            super()._run_once()  # type: ignore[misc]  # asyncio's own, for one turn; the stubs leave it out
        finally:
            self._ready.extend(self.held)
            self.held = []


class ShuffledReady(deque[Runnable]):
    """Any of them is the first."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random

    def popleft(self) -> Runnable:
        """Take one out."""
        self.rotate(-self._random.randrange(len(self)))
        return super().popleft()


class ShuffledRunQueue(RunQueue):
    """Gives turns to any actor, of a few messages, and answers no question before its turn."""

    __slots__ = ("_random",)

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random
        self.ready: deque[Runnable] = ShuffledReady(random)

    @property
    def at_most(self) -> int:  # type: ignore[override]  # an attribute in the base; here drawn for each turn
        """At most three messages."""
        return self._random.randint(1, 3)

    def run_now(self, runnable: Runnable) -> bool:
        """Never: who asks waits like all others."""
        return False


def interleaved(*, runs: int = 100, first_seed: int = 0) -> Callable[[Test], Callable[[], None]]:
    """Run the test `runs` times with the seeds from `first_seed` on, each on a loop of its own.

    It is given a system and its clock, and is leak-checked. What it raises comes out with a note.
    """

    def decorate(test: Test) -> Callable[[], None]:
        @functools.wraps(test)
        def run_all() -> None:
            chosen = os.environ.get(SEED)
            seeds = range(first_seed, first_seed + runs) if chosen is None else [int(chosen)]
            for seed in seeds:
                try:
                    run_with_seed(test, seed)
                except BaseException as error:
                    error.add_note(f"in the order of {SEED}={seed}")
                    raise

        del run_all.__wrapped__  # pytest would take its arguments for fixtures
        return run_all

    return decorate


def run_with_seed(test: Test, seed: int) -> None:
    """Run the test once, in the order that the seed decides."""
    random = Random(seed)

    async def work() -> None:
        clock = ManualClock()
        async with running_system(clock, run_queue=ShuffledRunQueue(random)) as system:
            await test(system, clock)

    with asyncio.Runner(loop_factory=lambda: ShuffledLoop(random)) as runner:
        runner.run(work())
