"""Tracks whether chat requests can be served now, and if not, why and until when."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Final

from actors import Code, Crashed, Event, Failure, Restarted
from actors.runtime.clock import Clock, Timer
from callboard_service.backends.base import ChatBackend, Health
from callboard_service.errors import OutageTooLong, find_service_error

STORE: Final = "store"
BACKEND: Final = "backend"

SHORT: Final = 2.0
"""Seconds: a restart due within this time is waited for, as long as no restart has failed."""


@dataclass(slots=True)
class Outage:
    """An outage of a part of the service that has crashed and is not running again yet.

    since, due: times on the system's clock; due: when the next restart begins.
    """

    since: float
    reason: str
    due: float
    crashes: int = 1
    alarm: Timer | None = None


class Outages:
    """Tracks outages of the store and the backend. An observer of the actor system's events.

    max_outage: seconds after which `ended` is called for a part that is still down; 0: never.
    """

    kinds: Final = (Crashed, Restarted)

    def __init__(
        self,
        root: str,
        clock: Clock,
        max_outage: float = 0.0,
        ended: Callable[[OutageTooLong], None] = lambda error: None,
    ) -> None:
        self._clock = clock
        self._parts = {f"{root}/{part}": part for part in (STORE, BACKEND)}
        self._max_outage = max_outage
        self._ended = ended
        self._outages: dict[str, Outage] = {}
        self._changed = asyncio.Event()

    def __call__(self, event: Event) -> None:
        """Process an event of the actor system, of one of the classes `kinds`."""
        match event:
            case Crashed(path, error, _, float(restart_in)) if path in self._parts:
                self._down(self._parts[path], error, restart_in)
                self._tell()
            case Restarted(path, _) if path in self._parts:
                self._up(self._parts[path])
                self._tell()
            case _:
                pass

    def of(self, part: str) -> Outage | None:
        """Return the outage of a part, or None if it has none."""
        return self._outages.get(part)

    async def change(self) -> None:
        """Wait until a part crashes or is running again."""
        await self._changed.wait()

    def wait(self, outage: Outage) -> float:
        """Return the seconds until the next restart; 0 if it is in progress."""
        return max(outage.due - self._clock.now(), 0.0)

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _down(self, part: str, error: BaseException, restart_in: float) -> None:
        now = self._clock.now()
        reason = str(find_service_error(error) or error) or type(error).__name__
        outage = self._outages.get(part)
        if outage is None:
            outage = self._outages[part] = Outage(now, reason, now + restart_in)
            if self._max_outage:
                outage.alarm = self._clock.call_later(
                    self._max_outage, lambda: self._give_up(part, outage)
                )
            return
        outage.reason, outage.due = reason, now + restart_in
        outage.crashes += 1

    def _up(self, part: str) -> None:
        outage = self._outages.pop(part, None)
        if outage is not None and outage.alarm is not None:
            outage.alarm.cancel()

    def _give_up(self, part: str, outage: Outage) -> None:
        seconds = self._clock.now() - outage.since
        self._ended(OutageTooLong(f"the {part} has been down for {seconds:.0f} s: {outage.reason}"))


class ServiceHealth:
    """The health of the backend, its actors and its conversations, combined."""

    def __init__(self, backend: ChatBackend, outages: Outages) -> None:
        self._backend = backend
        self._outages = outages

    def now(self) -> Health:
        """Return whether chat requests can be served now, with a reason for a person."""
        _, health = self._look()
        return health

    def unavailable(self) -> str:
        """Return the part that keeps chat requests from being served; empty if none does."""
        part, _ = self._look()
        return part

    async def available(self) -> None:
        """Wait until the backend runs, if it is down but expected back in a moment.

        Otherwise raises Failure: UNAVAILABLE, with the time until the next restart (at least 1 s).
        """
        while self._outages.of(BACKEND) is not None:
            refusal = self.refusal()
            if refusal is not None:
                raise refusal
            await self._outages.change()

    def refusal(self) -> Failure | None:
        """Return the Failure for a message that the backend cannot answer for a while, or None."""
        outage = self._outages.of(BACKEND)
        if outage is None:
            return None
        wait = self._outages.wait(outage)
        if outage.crashes == 1 and wait <= SHORT:
            return None
        message = f"the backend is not available; {_next(wait)}"
        after = max(ceil(wait * 1000), 1000)
        return Failure(Code.UNAVAILABLE, message, retryable=True, retry_after_ms=after)

    def _look(self) -> tuple[str, Health]:
        for part in (STORE, BACKEND):
            outage = self._outages.of(part)
            if outage is not None:
                detail = f"{outage.reason}; {_next(self._outages.wait(outage))}"
                return part, Health(ready=False, detail=detail)
        store = self._backend.store_health()
        if store is not None and not store.ready:
            return STORE, store
        health = self._backend.health()
        return "" if health.ready else BACKEND, health


def _next(wait: float) -> str:
    return f"it restarts in {ceil(wait)} s" if wait else "it is restarting"
