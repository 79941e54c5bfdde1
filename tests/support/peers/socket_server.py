"""Servers on loopback for tests: for any application, or for one WebSocket path."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator

from aiohttp import web

from tests.support.peers.background import Background


async def listen(app: web.Application) -> tuple[web.AppRunner, int]:
    """Serve an application on a free port; return its runner and the port."""
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, runner.addresses[0][1]


class SocketServer(ABC):
    """Listens on a free port of loopback between `start` and `stop`."""

    async def start(self) -> str:
        """Start listening, and return the URL of the WebSocket."""
        app = web.Application()
        app.router.add_get("/ws", self.serve)
        self._runner, port = await listen(app)
        return f"ws://127.0.0.1:{port}/ws"

    async def stop(self) -> None:
        """Stop listening, and close every connection."""
        await self._runner.cleanup()

    @abstractmethod
    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Serve one connection."""


@contextlib.contextmanager
def in_background(server: SocketServer) -> Iterator[str]:
    """Run a server on a thread of its own, and yield the URL of its WebSocket."""
    with Background() as background:
        url = background.run(server.start())
        try:
            yield url
        finally:
            background.run(server.stop())
