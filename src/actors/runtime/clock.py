"""The only clock that the runtime reads. It is passed in, so that a test can control time."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """A callback that is scheduled to run later."""

    def cancel(self) -> None:
        """Prevent the callback from running. Does nothing once it has run."""


class Clock(Protocol):
    """A monotonic clock, in seconds."""

    def now(self) -> float:
        """Return the seconds since some fixed moment; never decreases."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Run `callback` once, `delay` seconds from now; return its timer."""


class LoopClock:
    """The clock of the running event loop."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        # asyncio's own `time` only calls `time.monotonic`. Calling that directly saves a call for
        # each message that waits.
        own = type(loop).time is asyncio.BaseEventLoop.time
        self.now: Callable[[], float] = time.monotonic if own else loop.time
        self.call_later: Callable[[float, Callable[[], None]], Timer] = loop.call_later
