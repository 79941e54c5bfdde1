"""Whose turn it is: the actors that have something to do and no task to do it in.

One callback of the event loop gives them their turns, one after the other. So a message to an idle
actor costs no task and no turn of the loop: round a ring of actors it goes 10 times as fast as
with a task for each wake-up (`bench/actors.py`, column ring). The reasons are in docs/adr/0006.
"""

import asyncio
from collections import deque
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Final, Protocol

MESSAGES_PER_TURN: Final = 64
"""Messages that one actor handles in a row before another has its turn."""

TURNS: Final = 256
"""Messages that are handled in a row, of all actors, before the event loop has its turn."""


ASKS_IN_A_ROW: Final = 16
"""Questions that are answered at once before the event loop has its turn."""


class Runnable(Protocol):
    """What can be given a turn."""

    def step(self, at_most: int) -> int:
        """Handle up to so many messages; how many it were, and at least 1. Does not raise."""


@dataclass(frozen=True, slots=True)
class RunQueueStatistics:
    """The run queue at one moment; `ready`: actors that wait for their turn."""

    ready: int


class RunQueue:
    """Actors in the order in which they were woken.

    Handlers run in a copy of the context (`contextvars`) in which the system was made: what a
    sender has set there is not seen by the actor that it happens to wake.
    """

    __slots__ = ("_context", "_in_a_row", "_loop", "left", "ready", "running", "scheduled")

    at_most = MESSAGES_PER_TURN
    """Messages that whoever comes next may handle."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._context: Context = copy_context()
        self._in_a_row = 0
        self.left: int = 0
        """Messages that may still be handled before the event loop has its turn."""
        self.scheduled: bool = False
        """`_run` will come."""
        self.ready: deque[Runnable] = deque()
        self.running: Runnable | None = None
        """Who has its turn now, if it is in a plain function."""

    def statistics(self) -> RunQueueStatistics:
        """Who waits for a turn."""
        return RunQueueStatistics(len(self.ready))

    def add(self, runnable: Runnable) -> None:
        """Stand last in the queue."""
        self.ready.append(runnable)
        if not self.scheduled:
            self.schedule()

    def schedule(self) -> None:
        """Have the event loop give the turns. For who stands in `ready`, while not `scheduled`."""
        self.scheduled = True
        self._loop.call_soon(self._run, context=self._context)

    def run_now(self, runnable: Runnable) -> bool:
        """Give it one turn before all others, inside the task that asks it; False: not now.

        An ask of an idle actor is then answered without a turn of the event loop, of which it
        would need two: 1.6 times as fast (`bench/actors.py`, column ask). After a few in a row the
        loop has its turn, so that who asks and asks holds up nobody.
        """
        if self.running is not None or self._in_a_row >= ASKS_IN_A_ROW:
            return False
        self._in_a_row += 1
        self.running = runnable
        try:
            self._context.run(runnable.step, 1)
        finally:
            self.running = None
        return True

    def _run(self) -> None:
        self.left = TURNS
        self._in_a_row = 0
        ready = self.ready
        try:
            while self.left > 0 and ready:
                runnable = self.running = ready.popleft()
                handled = runnable.step(self.at_most)
                self.left -= handled  # which `step` may have lowered itself
        finally:
            self.running = None
            if ready:
                self.schedule()
            else:
                self.scheduled = False
