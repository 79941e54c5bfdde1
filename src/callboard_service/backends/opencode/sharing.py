"""Share one query's result among concurrent callers."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Shared(Generic[T]):
    """Runs a costly query once for all callers that wait for it to start.

    At most one runs at a time. A caller gets the result of a query that started after its call,
    never an older one, so it sees every change made before the call.
    """

    def __init__(self, query: Callable[[], Awaitable[T]]) -> None:
        self._query = query
        self._running = asyncio.Lock()
        self._next: asyncio.Task[T] | None = None

    async def get(self) -> T:
        """Return the result, or raise what the query raises. The result must not be changed."""
        if self._next is None:
            self._next = asyncio.create_task(self._run())
        return await asyncio.shield(self._next)

    async def _run(self) -> T:
        async with self._running:
            self._next = None  # later callers wait for the query after this one
            return await self._query()
