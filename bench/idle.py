"""What a connection, and a session whose connection was lost, hold while nothing happens."""

import asyncio

from google.protobuf.any_pb2 import Any
from google.protobuf.wrappers_pb2 import StringValue

from bench.process import TOKEN, ServerProcess
from bench.websocket import Socket, connect, frame
from bench.workloads import Target
from callboard.v1.envelope_pb2 import ClientMessage

_WARM = 50


async def connection_bytes(server: ServerProcess, count: int) -> float:
    """Resident bytes of an open connection with its session. The server must be a fresh one."""
    warm = [await connect(server.url, TOKEN, Socket) for _ in range(_WARM)]
    before = await _settled(server)
    sockets = [await connect(server.url, TOKEN, Socket) for _ in range(count)]
    held = (await _settled(server) - before) / count
    for socket in (*warm, *sockets):
        socket.close()
    await asyncio.sleep(0.2)
    return held


async def session_bytes(server: ServerProcess, target: Target, count: int) -> float:
    """Resident bytes of a session that waits for its client to come back.

    Connections are opened and lost one after the other, so that each uses the memory of the one
    before. The server must be a fresh one.
    """
    assert target.ours
    for _ in range(_WARM):
        (await connect(server.url, TOKEN, Socket)).abort()
    before = await _settled(server)
    for _ in range(count):
        (await connect(server.url, TOKEN, Socket)).abort()
    return (await _settled(server) - before) / count


async def waiting_bytes(server: ServerProcess, count: int) -> float:
    """Resident bytes of a request in flight, which waits. The server must be a fresh one."""
    packed = Any()
    packed.Pack(StringValue(value="wait"))
    socket = await connect(server.url, TOKEN, Socket)
    requests = [
        frame(ClientMessage(request_id=number, call=packed))
        for number in range(1, _WARM + count + 1)
    ]
    socket.send(b"".join(requests[:_WARM]))
    before = await _settled(server)
    socket.send(b"".join(requests[_WARM:]))
    held = (await _settled(server) - before) / count
    socket.abort()
    return held


async def _settled(server: ServerProcess) -> int:
    await asyncio.sleep(0.5)
    return server.memory()
