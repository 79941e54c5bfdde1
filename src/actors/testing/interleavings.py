"""Run a test many times, each time with the callbacks and actors that are ready in a random order.

A run, its time included (a ManualClock), depends only on its seed, so a failure is reproducible:

    @interleaved(runs=200)
    async def test_it(system: ActorSystem, clock: ManualClock) -> None: ...

fails with the seed in the error's notes, and `ACTORS_SEED=17 pytest -k test_it` repeats that order.
(After FoundationDB's simulation and Coyote's systematic testing; here the orders are random.)
"""

import asyncio
import functools
import os
from collections import deque
from collections.abc import Awaitable, Callable
from random import Random
from typing import TYPE_CHECKING, Final, TypeAlias

from actors.runtime.runqueue import Runnable, RunQueue
from actors.testing.kit import ManualClock, running_system

if TYPE_CHECKING:
    from actors.runtime.system import ActorSystem

Test: TypeAlias = "Callable[[ActorSystem, ManualClock], Awaitable[None]]"

SEED: Final = "ACTORS_SEED"
"""The environment variable with the one seed to run."""


class ShuffledLoop(asyncio.SelectorEventLoop):
    """Runs ready callbacks in random order, and delays some of them by a turn or more."""

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
            super()._run_once()  # type: ignore[misc]  # private, for one turn; not in the stubs
        finally:
            self._ready.extend(self.held)
            self.held = []


class ShuffledReady(deque[Runnable]):
    """A queue of ready actors that returns them in random order."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random

    def popleft(self) -> Runnable:
        """Remove and return a random element."""
        self.rotate(-self._random.randrange(len(self)))
        return super().popleft()


class ShuffledRunQueue(RunQueue):
    """Gives short turns to random actors, and no ask a turn ahead of the queue."""

    __slots__ = ("_random",)

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random
        self.ready: deque[Runnable] = ShuffledReady(random)

    @property
    def at_most(self) -> int:  # type: ignore[override]  # an attribute in the base; random here
        """The messages of the next turn: one to three, at random."""
        return self._random.randint(1, 3)

    def run_now(self, runnable: Runnable) -> bool:
        """Return False: an asked actor waits for its turn like all others."""
        return False


def interleaved(*, runs: int = 100, first_seed: int = 0) -> Callable[[Test], Callable[[], None]]:
    """Return a decorator that runs a test `runs` times, with the seeds from `first_seed` on.

    Each run has its own event loop, is given a system and its clock, and is checked for leaks. What
    the test raises is raised with a note that names the seed.
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

        del run_all.__wrapped__  # pytest would take the test's arguments for fixtures
        return run_all

    return decorate


def run_with_seed(test: Test, seed: int) -> None:
    """Run the test once, in the order that the seed determines."""
    random = Random(seed)

    async def work() -> None:
        clock = ManualClock()
        async with running_system(clock, run_queue=ShuffledRunQueue(random)) as system:
            await test(system, clock)

    with asyncio.Runner(loop_factory=lambda: ShuffledLoop(random)) as runner:
        runner.run(work())
