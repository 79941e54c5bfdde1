"""One answer for all who ask at the same time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Shared(Generic[T]):
    """Runs a costly query once for all callers that wait for it to begin.

    At most one runs at a time. A caller gets the result of a query that began after its call, never
    an older one, so it sees what was changed before it asked.
    """

    def __init__(self, query: Callable[[], Awaitable[T]]) -> None:
        self._query = query
        self._running = asyncio.Lock()
        self._next: asyncio.Task[T] | None = None

    async def get(self) -> T:
        """Return the result, or raise what the query raises. It is shared: do not change it."""
        if self._next is None:
            self._next = asyncio.create_task(self._run())
        return await asyncio.shield(self._next)

    async def _run(self) -> T:
        async with self._running:
            self._next = None  # whoever asks from now on waits for the query after this one
            return await self._query()
