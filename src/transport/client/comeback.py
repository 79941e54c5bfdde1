"""Decides whether, where and when a client reconnects, by close code and runtime file."""

from collections.abc import Callable
from math import inf
from typing import Final

from transport.client.calls import ClientSettings, Endpoint
from transport.client.effects import Connect, Find
from transport.codes import CloseCode

_BACK: Final = frozenset({1001, 1006, 1012})
_NOWHERE: Final = Endpoint("", "")
_MOST_DOUBLINGS: Final = 30


def comes_back(code: int) -> bool:
    """Return whether a client may reconnect after this close code."""
    return 4000 <= code <= 4499 or code in _BACK


class Comeback:
    """The attempts to connect. A next step of None means to give up.

    Before the first connection, the first failure is final, unless the service turns out to be
    elsewhere or is only busy. An endpoint that refused its token is not tried again.
    """

    def __init__(self, settings: ClientSettings, random: Callable[[], float]) -> None:
        self.endpoint: Endpoint = _NOWHERE
        self.lost_at: float | None = None
        self._settings = settings
        self._random = random
        self._barred: set[float] = set()
        self._attempts = 0
        self._advised = 0.0
        self._busy_since: float | None = None
        self._was_open = False

    def found(self, endpoint: Endpoint | None, now: float) -> Connect | None:
        """Return how to connect to where the service is now, or None.

        endpoint: None if no service is running.
        """
        new = endpoint is not None and endpoint != self.endpoint
        if endpoint is not None:
            self.endpoint = endpoint
        if new:
            self._attempts = 0
        elif self.lost_at is None and (endpoint is None or self._busy_since is None):
            return None
        return self._again(now, at_once=new)

    def lost(
        self, code: int, now: float, *, refused: bool, busy: bool = False
    ) -> Find | Connect | None:
        """Return the next step after a connection has ended, or (`refused`) none could be made.

        busy: the service is there, but admits no client now.
        """
        if self._was_open and (self.lost_at is None or (self._busy_since is not None and not busy)):
            self.lost_at = now  # a service that was busy until now was not lost
        if not busy:
            self._busy_since = None
        elif self._busy_since is None:
            self._busy_since = now
        if code == CloseCode.BAD_TOKEN:
            self._barred.add(self.endpoint.started_at)
            return Find()
        if not comes_back(code):
            return None
        if refused or busy:
            return Find()
        return None if self.lost_at is None else self._again(now, at_once=False)

    def _again(self, now: float, *, at_once: bool) -> Connect | None:
        if self.endpoint.started_at in self._barred:
            return None
        deadline = self._deadline()
        if now >= deadline:
            return None
        delay = 0.0 if at_once else self._next_delay()
        # A caller waiting for the first connection must not wait beyond the deadline.
        return Connect(self.endpoint, delay if self._was_open else min(delay, deadline - now))

    def _deadline(self) -> float:
        """Return when to give up, on the clock of `now`."""
        deadlines = []
        if self.lost_at is not None:
            deadlines.append(self.lost_at + self._settings.give_up)
        if self._busy_since is not None:
            deadlines.append(self._busy_since + self._settings.busy_wait)
        return max(deadlines, default=inf)

    def _next_delay(self) -> float:
        """Return the advised delay plus an exponential backoff, with jitter over its upper half."""
        settings = self._settings
        ceiling = min(settings.backoff_initial * 2.0**self._attempts, settings.backoff_maximum)
        self._attempts = min(self._attempts + 1, _MOST_DOUBLINGS)
        return self._advised + ceiling * (0.5 + self._random() / 2)

    def advised(self, seconds: float) -> None:
        """Note the delay, in seconds, that a service advised when it announced its shutdown."""
        self._advised = seconds

    def opened(self) -> None:
        """Note that the service has admitted the client."""
        self._was_open = True
        self.lost_at = self._busy_since = None
        self._advised = 0.0

    def proved(self) -> None:
        """Note that the connection has carried something, so that the next loss is a new one."""
        self._attempts = 0
