"""The library `websockets`, with the plain handlers."""

from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as listen

from bench.servers.handlers import WELCOME, begin
from bench.servers.process import run, serve


async def handle(socket: ServerConnection) -> None:
    """Serve one connection."""
    await socket.recv()
    await socket.send(WELCOME)
    async for data in socket:
        assert isinstance(data, bytes)
        begin(socket.send, data)


async def main() -> None:
    """Listen on a free port."""
    async with listen(handle, "127.0.0.1", 0, compression=None) as server:
        await serve(next(iter(server.sockets)).getsockname()[1])


if __name__ == "__main__":
    run(main())
