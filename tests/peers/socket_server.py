"""A WebSocket server for tests, whose answers are up to whoever derives from it."""

from abc import ABC, abstractmethod

from aiohttp import web


class SocketServer(ABC):
    """Listens on a free port of loopback between `start` and `stop`."""

    async def start(self) -> str:
        """Listen, and return the URL of the WebSocket."""
        app = web.Application()
        app.router.add_get("/ws", self.serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"ws://127.0.0.1:{self._runner.addresses[0][1]}/ws"

    async def stop(self) -> None:
        """Close every connection, and listen no more."""
        await self._runner.cleanup()

    @abstractmethod
    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Take one connection."""
