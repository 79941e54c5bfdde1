"""The events of one reply that wait to be yielded.

An agent cannot be paused, so they are bounded; one beyond the bound ends the reply.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Final

from actors import Code, Failure
from callboard_service.backends.base import ReplyEvent

MAX_BYTES: Final = 16 * 1024 * 1024
MAX_EVENTS: Final = 100_000

TOO_FAST: Final = Failure(
    Code.RESOURCE_EXHAUSTED, "the reply arrives faster than the client reads it", retryable=True
)


class Inbox:
    """The events, and the end that follows them once it is set."""

    def __init__(self) -> None:
        self._events: deque[ReplyEvent] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()
        self._end: ReplyEvent | Failure | None = None

    def put(self, events: Iterable[ReplyEvent]) -> None:
        """Add events. Raises Failure if that is too much; those that fitted stay."""
        for event in events:
            self._bytes += event.ByteSize()
            if self._bytes > MAX_BYTES or len(self._events) >= MAX_EVENTS:
                raise TOO_FAST.alone()
            self._events.append(event)
        self._changed.set()

    def end(self, last: ReplyEvent | Failure) -> None:
        """Set the last event, or the Failure that ends the reply."""
        if self._end is None:
            self._end = last
            self._changed.set()

    def take(self) -> ReplyEvent | Failure | None:
        """Return the next event, or the end; None if there is neither yet."""
        if self._events:
            event = self._events.popleft()
            self._bytes -= event.ByteSize()
            return event
        return self._end

    async def wait(self, seconds: float) -> bool:
        """Wait until `take` has something to return; False if that takes longer."""
        while not self._events and self._end is None:
            self._changed.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._changed.wait()
            except TimeoutError:
                return False
        return True
