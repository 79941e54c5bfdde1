"""Connections that have no session yet; the oldest is cut off if there are too many.

A cap that refused newcomers would let anyone without a token lock out everyone else by opening
connections and sending nothing. A genuine client sends its Hello at once, and gets through before
it has become the oldest.
"""

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

from actors.runtime.clock import Clock, Timer

REQUESTS: Final = 1024
"""Connections that have not sent a whole HTTP request, or are idle after one."""

GRACE: Final = 0.5
"""Seconds that a connection has for its Hello, up to CROWDED times the bound."""

CROWDED: Final = 4

_SPARE: Final = 128
"""Files that the service opens for other purposes: databases, pipes, libraries."""

_FEWEST: Final = 16


class Visitor(Protocol):
    """A connection that waits in the lobby."""

    def abort(self) -> None:
        """Cut the connection off."""


class Lobby:
    """A bounded number of connections that have not shown the token.

    Above `at_most`, the oldest is cut off once it has been silent for GRACE seconds; from CROWDED
    times as many on, at once. So a client has that long for its Hello, unless the crowd is very
    large.
    """

    def __init__(self, at_most: int, clock: Clock, cut_off: Callable[[], None]) -> None:
        self._at_most = at_most
        self._clock = clock
        self._cut_off = cut_off
        self._visitors: dict[Visitor, float] = {}
        self._timer: Timer | None = None

    def enter(self, visitor: Visitor) -> None:
        """Let a connection in."""
        if len(self._visitors) >= CROWDED * self._at_most:
            self._cut_oldest()
        self._visitors[visitor] = self._clock.now()
        self._plan()

    def leave(self, visitor: Visitor) -> None:
        """Forget a connection that has shown the token or has ended."""
        self._visitors.pop(visitor, None)

    def close(self) -> None:
        """Stop cutting off connections."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _cut_oldest(self) -> None:
        oldest = next(iter(self._visitors))
        del self._visitors[oldest]
        self._cut_off()
        oldest.abort()

    def _plan(self) -> None:
        if self._timer is None and len(self._visitors) > self._at_most:
            entered = next(iter(self._visitors.values()))
            delay = max(0.0, entered + GRACE - self._clock.now())
            self._timer = self._clock.call_later(delay, self._thin_out)

    def _thin_out(self) -> None:
        self._timer = None
        since = self._clock.now() - GRACE
        while len(self._visitors) > self._at_most and next(iter(self._visitors.values())) <= since:
            self._cut_oldest()
        self._plan()


def requests_at_once(sessions: int) -> int:
    """Return how many connections may be without a session while `sessions` others are open.

    Each connection is an open file, and the usual limit of 1,024 is lower than the number of
    sessions allowed, so the limit is raised first, as far as the system permits.
    """
    if sys.platform == "win32":
        return REQUESTS
    import resource

    wanted = sessions + REQUESTS + _SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return REQUESTS
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with suppress(OSError, ValueError):  # macOS has a lower limit than it reports
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        soft = allowed
    return max(_FEWEST, min(REQUESTS, soft - sessions - _SPARE))
