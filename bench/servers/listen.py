"""What the plain servers share: an aiohttp server of WebSockets."""

from collections.abc import Awaitable, Callable
from typing import NoReturn

from aiohttp import web

from bench.servers.process import serve


async def listen(handle: Callable[[web.Request], Awaitable[web.WebSocketResponse]]) -> NoReturn:
    """Serve WebSockets at `/ws` on a free port, and print that; see `serve`."""
    app = web.Application()
    app.router.add_get("/ws", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    await serve(runner.addresses[0][1])
