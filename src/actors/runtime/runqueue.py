"""The run queue: the actors that have work to do and no task to do it in.

One callback of the event loop gives each of them a turn. A message to an idle actor therefore costs
neither a task nor a turn of the loop: it passes around a ring of actors 10 times as fast as with a
task for each wake-up (`bench/actors.py`, column ring). docs/adr/0006 has the reasons.
"""

import asyncio
from collections import deque
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Final, Protocol

MESSAGES_PER_TURN: Final = 64
"""Messages that one actor handles in a row before the next actor's turn."""

TURNS: Final = 256
"""Messages that all actors together handle in a row before the event loop's turn."""


ASKS_IN_A_ROW: Final = 16
"""Asks that are handled at once, in a row, before the event loop's turn."""


class Runnable(Protocol):
    """Something that can be given a turn. handled: messages, while they are counted."""

    handled: int

    def step(self, at_most: int) -> int:
        """Handle up to `at_most` messages; return how many, but at least 1.

        Handles crashes itself; raises only what is meant to end the program.
        """


@dataclass(frozen=True, slots=True)
class RunQueueStatistics:
    """A snapshot of the run queue."""

    ready: int
    """Actors that wait for their turn."""
    handled: int
    """Messages that all actors have handled while they were counted."""


class RunQueue:
    """Actors in the order in which they were woken.

    Turns run in a copy of the context (`contextvars`) in which the system was created, so an actor
    does not see what the sender that woke it has set there.
    """

    __slots__ = (
        "_context", "_in_a_row", "_loop", "counting", "handled", "left", "ready", "running",
        "scheduled",
    )  # fmt: skip

    at_most = MESSAGES_PER_TURN
    """Messages that the next actor may handle in its turn."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._context: Context = copy_context()
        self._in_a_row = 0
        self.counting: int = 0
        """How many callers want messages counted. A turn for anything else counts as one too."""
        self.handled: int = 0
        self.left: int = 0
        """Messages that may still be handled before the event loop's turn."""
        self.scheduled: bool = False
        """Whether the event loop is going to call `_run`."""
        self.ready: deque[Runnable] = deque()
        self.running: Runnable | None = None
        """The actor whose turn is running now, or None."""

    def statistics(self) -> RunQueueStatistics:
        """Return how many actors wait for a turn."""
        return RunQueueStatistics(len(self.ready), self.handled)

    def count(self, runnable: Runnable, handled: int) -> None:
        """Count messages that `runnable` has handled. Call only while `counting`."""
        runnable.handled += handled
        self.handled += handled

    def add(self, runnable: Runnable) -> None:
        """Append `runnable` to the queue."""
        self.ready.append(runnable)
        if not self.scheduled:
            self.schedule()

    def schedule(self) -> None:
        """Schedule `_run`. Call only while `ready` is non-empty and no run is scheduled."""
        self.scheduled = True
        self._loop.call_soon(self._run, context=self._context)

    def run_now(self, runnable: Runnable) -> bool:
        """Run one turn now, ahead of the queue and in the asker's task; return False if it cannot.

        An ask of an idle actor is then answered without a turn of the event loop, instead of two:
        1.6 times as fast (`bench/actors.py`, column ask). After ASKS_IN_A_ROW of them the loop gets
        its turn, so that a series of asks does not block it.
        """
        if self.running is not None or self._in_a_row >= ASKS_IN_A_ROW:
            return False
        self._in_a_row += 1
        self.running = runnable
        try:
            handled = self._context.run(runnable.step, 1)
        finally:
            self.running = None
        if self.counting:
            self.count(runnable, handled)
        return True

    def _run(self) -> None:
        self.left = TURNS
        self._in_a_row = 0
        ready, counting = self.ready, self.counting
        try:
            while self.left > 0 and ready:
                runnable = self.running = ready.popleft()
                handled = runnable.step(self.at_most)
                self.left -= handled  # `step` may have lowered it too
                if counting:
                    self.count(runnable, handled)
        finally:
            self.running = None
            if ready:
                self.schedule()
            else:
                self.scheduled = False
