"""The end of an agent's process, which goes on in the background."""

import asyncio
from collections.abc import Awaitable, Callable

from callboard_service.backends.acp.connection import Connection
from callboard_service.backends.acp.timeouts import AcpTimeouts


class Ending:
    """Ends the process, once. farewell: what is done before; it is told whether to forget."""

    def __init__(
        self,
        connection: Connection,
        timeouts: AcpTimeouts,
        farewell: Callable[[bool], Awaitable[None]],
    ) -> None:
        self.hurried = False
        self._connection = connection
        self._timeouts = timeouts
        self._farewell = farewell
        self._closing: asyncio.Task[None] | None = None
        self._hurrying: asyncio.Task[None] | None = None

    @property
    def begun(self) -> bool:
        """Whether the process is ending, or has been ended."""
        return self._closing is not None

    def begin(self, *, forget: bool = False) -> None:
        """Begin to end the process; only the first call counts."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(forget))

    async def wait(self) -> None:
        """End the process, and wait for that. If the caller is cancelled, the end goes on."""
        self.begin()
        assert self._closing is not None
        await asyncio.shield(self._closing)

    def hurry(self) -> None:
        """Leave the process less time to end, also if that has begun: the service is stopping."""
        self.hurried = True
        if self._closing is not None:
            self._hurrying = asyncio.create_task(self._end_process())

    async def _close(self, forget: bool) -> None:
        await self._farewell(forget)
        await self._end_process()

    async def _end_process(self) -> None:
        times = self._timeouts
        if self.hurried:
            await self._connection.close(patience=times.hurry, grace=times.hurry)
        else:
            await self._connection.close(patience=times.close)
