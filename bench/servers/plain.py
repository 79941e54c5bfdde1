"""The plain handler: a bare aiohttp WebSocket, the denominator of every ratio."""

from aiohttp import WSMsgType, web

from bench.servers.handlers import WELCOME, begin
from bench.servers.process import run, serve


async def handle(request: web.Request) -> web.WebSocketResponse:
    """Serve one connection."""
    socket = web.WebSocketResponse(compress=False)
    await socket.prepare(request)
    await socket.receive()
    await socket.send_bytes(WELCOME)
    async for message in socket:
        if message.type is WSMsgType.BINARY:
            begin(socket.send_bytes, message.data)
    return socket


async def main() -> None:
    """Listen on a free port."""
    app = web.Application()
    app.router.add_get("/ws", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    await serve(runner.addresses[0][1])


if __name__ == "__main__":
    run(main())
