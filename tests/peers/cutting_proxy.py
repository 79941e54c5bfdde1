"""A way to a server that can be cut, and mended."""

import asyncio
import contextlib
from typing import Any
from urllib.parse import urlsplit

from tests.peers.background import Background


class CuttingProxy:
    """Passes bytes on in both directions, on a port of the kernel's choice."""

    def __init__(self, target: str) -> None:
        url = urlsplit(target)
        assert url.hostname is not None
        assert url.port is not None
        self._target = (url.hostname, url.port)
        self._background = Background()
        self._writers: set[asyncio.StreamWriter] = set()
        self._open = True
        self.connections = 0
        self.url = ""

    def __enter__(self) -> "CuttingProxy":
        self._background.__enter__()
        self._server = self._background.run(self._start())
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *error: Any) -> None:
        self.cut()
        self._background.loop.call_soon_threadsafe(self._server.close)
        self._background.__exit__(None, None, None)

    def cut(self) -> None:
        """Cut every connection, and take no new one until `mend`."""
        self._open = False
        self._background.run(self._cut())

    def mend(self) -> None:
        """Take connections again."""
        self._open = True

    async def _start(self) -> asyncio.Server:
        return await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._open:
            writer.transport.abort()
            return
        self.connections += 1
        there, away = await asyncio.open_connection(*self._target)
        both = {writer, away}
        self._writers |= both
        try:
            await asyncio.gather(_pass_on(reader, away), _pass_on(there, writer))
        finally:
            self._writers -= both
            for one in both:
                one.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
