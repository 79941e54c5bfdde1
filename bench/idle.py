"""Measure the memory of idle connections, sessions without a connection, and waiting requests."""

import asyncio

from google.protobuf.any_pb2 import Any
from google.protobuf.wrappers_pb2 import StringValue

from bench.process import TOKEN, ServerProcess
from bench.websocket import Socket, connect, frame
from bench.workloads import Target
from callboard.v1.envelope_pb2 import ClientMessage

_WARM = 50


async def connection_bytes(server: ServerProcess, count: int) -> float:
    """Return the resident bytes of an open connection and its session. Needs a fresh server."""
    warm = [await connect(server.url, TOKEN, Socket) for _ in range(_WARM)]
    before = await _settled(server)
    sockets = [await connect(server.url, TOKEN, Socket) for _ in range(count)]
    held = (await _settled(server) - before) / count
    for socket in (*warm, *sockets):
        socket.close()
    await asyncio.sleep(0.2)
    return held


async def session_bytes(server: ServerProcess, target: Target, count: int) -> float:
    """Return the resident bytes of a session that waits for its client to come back.

    Connections are opened and lost one after another, so that each reuses the memory of the one
    before. Needs a fresh server.
    """
    assert target.ours
    for _ in range(_WARM):
        (await connect(server.url, TOKEN, Socket)).abort()
    before = await _settled(server)
    for _ in range(count):
        (await connect(server.url, TOKEN, Socket)).abort()
    return (await _settled(server) - before) / count


async def waiting_bytes(server: ServerProcess, count: int) -> float:
    """Return the resident bytes of a waiting request in flight. Needs a fresh server."""
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
