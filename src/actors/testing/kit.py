"""A manual clock, systems that are stopped with their test, a leak check and a probe."""

import asyncio
import heapq
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from itertools import count
from random import Random
from typing import Final, Generic, TypeVar

import pytest

from actors.runtime.actor import Actor
from actors.runtime.events import Event
from actors.runtime.ref import ActorRef
from actors.runtime.runqueue import RunQueue
from actors.runtime.supervision import Down
from actors.runtime.system import ActorSystem

M = TypeVar("M")
T = TypeVar("T")

ROUNDS: Final = 100_000
"""Turns of the event loop after which `settle` concludes that the work does not end."""

BLIND_ROUNDS: Final = 200
"""Turns that `settle` gives a loop that does not show what is ready (uvloop)."""

PATIENCE: Final = 10.0
"""Real seconds after which a probe gives up on a message. A passing test does not wait so long."""

AN_HOUR: Final = 3600.0


async def settle() -> None:
    """Run everything that can run now, until all of it waits.

    No real time passes: threads and sockets are not waited for. Raises AssertionError if the work
    does not end within ROUNDS turns of the loop.
    """
    loop = asyncio.get_running_loop()
    ready = getattr(loop, "_ready", None)
    if ready is None:
        for _ in range(BLIND_ROUNDS):
            await asyncio.sleep(0)
        return
    for _ in range(ROUNDS):
        await asyncio.sleep(0)
        if not ready and not getattr(loop, "held", None):
            return
    raise AssertionError(f"still at work after {ROUNDS} turns of the event loop")


class ManualTimer:
    """A timer of a ManualClock."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Prevent the callback from running."""
        self.callback = None


class ManualClock:
    """A clock that stands still until the test advances it (`actors.runtime.clock.Clock`).

    Timers run in the order in which they are due, and those due at the same time in the order in
    which they were set. The event loop settles after each such time.
    """

    def __init__(self, start: float = 0.0) -> None:
        self._now = start
        self._order = count()
        self._timers: list[tuple[float, int, ManualTimer]] = []

    def now(self) -> float:
        """Return the time: `start`, plus the seconds that it was advanced by."""
        return self._now

    def call_later(self, delay: float, callback: Callable[[], None]) -> ManualTimer:
        """Run `callback` when the clock has advanced by `delay` seconds; return its timer."""
        timer = ManualTimer(callback)
        heapq.heappush(self._timers, (self._now + max(delay, 0.0), next(self._order), timer))
        return timer

    @property
    def pending(self) -> int:
        """The number of timers that are set."""
        return sum(timer.callback is not None for _, _, timer in self._timers)

    @property
    def next_due(self) -> float | None:
        """The time at which the next timer is due, or None."""
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    async def settle(self) -> None:
        """Run everything that can run now; see the function `settle`."""
        await settle()

    async def advance(self, seconds: float) -> None:
        """Advance the clock and run all timers that become due. Raises what a timer raises."""
        end = self._now + seconds
        await settle()
        while (due := self.next_due) is not None and due <= end:
            await self._run_moment(due)
        self._now = end

    async def until(self, awaitable: Awaitable[T], *, within: float = AN_HOUR) -> T:
        """Advance the clock from timer to timer until `awaitable` is done, and return its result.

        Raises AssertionError if it is not done `within` seconds of this clock, or if no timer is
        left that could complete it.
        """
        end = self._now + within
        task = asyncio.ensure_future(awaitable)
        await settle()
        while not task.done():
            due = self.next_due
            if due is None or due > end:
                task.cancel()
                await asyncio.wait([task])
                raise AssertionError(f"not done, and no timer is due before {end}")
            await self._run_moment(due)
        return await task

    async def _run_moment(self, due: float) -> None:
        self._now = max(self._now, due)
        while self.next_due == due:
            timer = heapq.heappop(self._timers)[2]
            callback, timer.callback = timer.callback, None
            assert callback is not None  # `next_due` has skipped those that were cancelled
            callback()
        await settle()


class LeakCheck:
    """Compares the tasks and actors that exist now with those when it was created."""

    def __init__(self) -> None:
        self._before = asyncio.all_tasks()
        self._systems: list[ActorSystem] = []

    def add(self, system: ActorSystem) -> None:
        """Check this system too: it must have been stopped."""
        self._systems.append(system)

    def leaks(self) -> list[str]:
        """Return a line for each new task and for each actor that has not ended."""
        tasks = asyncio.all_tasks() - self._before - {asyncio.current_task()}
        return [*(f"task {task!r}" for task in tasks), *self._actors()]

    def _actors(self) -> Iterable[str]:
        for system in self._systems:
            root = system.snapshot()
            if root.state != "stopped":
                yield f"system {root.name} is {root.state}"
            yield from (f"actor {root.name}/{child.name}" for child in root.children)

    async def check(self) -> None:
        """Settle, and raise AssertionError with the names of what is left, if anything is."""
        await settle()
        found = self.leaks()
        if found:
            raise AssertionError("left behind:\n" + "\n".join(found))


@asynccontextmanager
async def running_system(
    clock: ManualClock,
    observer: Callable[[Event], None] | None = None,
    run_queue: RunQueue | None = None,
) -> AsyncIterator[ActorSystem]:
    """Run a system on `clock`, with a fixed jitter; stop it and check for leaks at the end."""
    check = LeakCheck()
    system = ActorSystem(clock=clock, random=Random(0), observer=observer, run_queue=run_queue)
    check.add(system)
    try:
        yield system
    finally:
        await clock.until(system.stop())
    await check.check()


@pytest.fixture
def manual_clock() -> ManualClock:
    """Return a clock that the test advances."""
    return ManualClock()


@pytest.fixture
def actor_events() -> list[Event]:
    """Return the list of events that `actor_system` reports."""
    return []


@pytest.fixture
async def actor_system(
    manual_clock: ManualClock, actor_events: list[Event]
) -> AsyncIterator[ActorSystem]:
    """Run a system on the manual clock; fail a test that leaves a task or an actor behind."""
    async with running_system(manual_clock, actor_events.append) as system:
        yield system


@pytest.fixture
async def leak_check() -> AsyncIterator[LeakCheck]:
    """Fail a test that leaves a task behind, or does not stop a system that it has added."""
    check = LeakCheck()
    yield check
    await check.check()


class Probe(Actor[M], Generic[M]):
    """An actor that records its `messages`, and the `downs` of the actors that it watches.

    It keeps them across restarts if the factory always returns the same probe:
    `spawn(lambda: probe)`.
    """

    def __init__(self) -> None:
        self.messages: list[M] = []
        self.downs: list[Down] = []
        self._unread: deque[M] = deque()
        self._reader: asyncio.Future[None] | None = None

    @property
    def ref(self) -> ActorRef[M]:
        """Its ref, once it has been spawned."""
        return self.context.ref

    def receive(self, message: M) -> None:
        """Record the message."""
        self.messages.append(message)
        self._unread.append(message)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def down(self, down: Down) -> None:
        """Record the end of a watched actor."""
        self.downs.append(down)

    async def next(self) -> M:
        """Wait for the oldest message that `next` has not returned yet, and return it.

        Raises AssertionError if none comes within PATIENCE seconds.
        """
        while not self._unread:
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await asyncio.wait_for(self._reader, PATIENCE)
            except TimeoutError:
                raise AssertionError("the probe was told nothing more") from None
            finally:
                self._reader = None
        return self._unread.popleft()
