"""The plain handler: a bare aiohttp WebSocket, the denominator of every ratio."""

from aiohttp import WSMsgType, web

from bench.servers.handlers import WELCOME, begin
from bench.servers.listen import listen
from bench.servers.process import run


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


if __name__ == "__main__":
    run(listen(handle))
