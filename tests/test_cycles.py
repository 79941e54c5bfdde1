"""What has ended is freed at once, and does not wait for the garbage collector."""

import asyncio
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from callboard.v1.chat_pb2 import CreateSessionRequest
from callboard.v1.envelope_pb2 import ClientMessage
from callboard.v1.session_pb2 import Hello
from callboard_service.service import Service
from tests.support.fed import TOKEN
from tests.support.garbage import garbage
from tests.test_costs import service


async def visit(url: str) -> None:
    """Open a session, ask something, and close the connection, which ends the session."""
    hello = Hello(token=TOKEN, protocol_version=1)
    async with connect(url, proxy=None, compression=None) as socket:
        await socket.send(ClientMessage(hello=hello).SerializeToString())
        await socket.recv()
        request = ClientMessage(request_id=1, create_session=CreateSessionRequest())
        await socket.send(request.SerializeToString())
        await socket.recv()


async def until_gone(service: Service) -> None:
    """Wait until there are no sessions and no connections."""
    while True:
        parts = {part.name: part for part in service.system.snapshot().children}
        assert service._server is not None
        if not (parts["sessions"].children or service._server._connections):
            return
        await asyncio.sleep(0.001)


async def test_a_session_leaves_no_reference_cycle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its answers would stay until a full collection, which may be hours away."""
    made = service(tmp_path, monkeypatch, backend="echo")
    ready = await made.start()
    try:
        await visit(ready.url)
        await until_gone(made)
        with garbage() as left:
            await visit(ready.url)
            await until_gone(made)
        assert not left
    finally:
        await made.stop()
