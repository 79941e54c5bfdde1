"""A real service takes messages as aiohttp parses them, and also works without that."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError
from websockets.frames import Frame, Opcode

import transport.server.connection
import transport.server.outgoing
import transport.server.server
from actors import RequestActor
from actors.runtime.eager import EAGER
from actors.testing import settle
from callboard.v1.chat_pb2 import CreateSessionRequest, SendMessageRequest
from callboard.v1.envelope_pb2 import ClientMessage, ServerMessage
from callboard.v1.session_pb2 import Hello
from callboard_service.load_settings import load
from callboard_service.log import make_log
from callboard_service.service import Ready, Service
from transport.codes import CloseCode
from transport.server import aiohttp_internals, feed
from transport.server.connection import ServerConnection

TOKEN = "t" * 32


class Same(RequestActor[Duration, Duration]):
    async def handle(self, request: Duration) -> Duration:
        return request


@pytest.fixture
async def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Service]:
    monkeypatch.setenv("CALLBOARD_TOKEN", TOKEN)
    settings = {"backend": "echo", "log_level": "error", "runtime_dir": tmp_path}
    service = Service(load({**settings, "max_requests_in_flight": 5000}), make_log("error"))
    service.registry.register(Duration, Same)
    yield service
    await service.stop()


@pytest.fixture
async def ready(service: Service) -> Ready:
    return await service.start()


@asynccontextmanager
async def greeted(ready: Ready) -> AsyncIterator[ClientConnection]:
    async with connect(ready.url, proxy=None, compression=None) as socket:
        hello = Hello(token=TOKEN, protocol_version=1, acknowledges=True)
        await socket.send(ClientMessage(hello=hello).SerializeToString())
        await socket.recv()
        yield socket


async def next_of(socket: ClientConnection) -> ServerMessage:
    data = await socket.recv()
    assert isinstance(data, bytes)
    return ServerMessage.FromString(data)


async def talk(ready: Ready) -> None:
    async with greeted(ready) as socket:
        create = ClientMessage(request_id=1, create_session=CreateSessionRequest())
        await socket.send(create.SerializeToString())
        name = (await next_of(socket)).session_info.id
        prompt = SendMessageRequest(session_id=name, text="[[repeat:3000]]")
        await socket.send(ClientMessage(request_id=2, send_message=prompt).SerializeToString())
        answers = [await next_of(socket) for _ in range(3001)]
        assert [answer.sequence for answer in answers] == list(range(2, 3003))
        assert [answer.end for answer in answers] == [*([False] * 3000), True]


def test_the_locked_aiohttp_has_all_private_names() -> None:
    assert aiohttp_internals.AVAILABLE


async def test_messages_are_taken_as_they_are_parsed(
    ready: Ready, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    take = ServerConnection.take

    def note(connection: ServerConnection, data: bytes) -> None:
        taken.append(len(data))
        take(connection, data)

    monkeypatch.setattr(ServerConnection, "take", note)
    await talk(ready)
    assert taken


def of_http(service: Service) -> int:
    """Return the number of connections that aiohttp's HTTP server knows."""
    assert service._server is not None
    assert service._server._runner is not None
    assert service._server._runner.server is not None
    return len(service._server._runner.server.connections)


async def test_a_web_socket_leaves_the_http_server(service: Service, ready: Ready) -> None:
    async with greeted(ready) as socket:
        assert of_http(service) == 0
        await socket.send(b"no message")
        with pytest.raises(ConnectionClosedError) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == CloseCode.PROTOCOL_VIOLATION


async def test_what_comes_with_the_request_is_read(ready: Ready) -> None:
    """aiohttp has read a frame that follows the upgrade in one segment, and passes it on."""
    hello = ClientMessage(hello=Hello(token=TOKEN, protocol_version=1)).SerializeToString()
    host = ready.url.split("/")[2]
    reader, writer = await asyncio.open_connection(*host.split(":"))
    writer.write(
        f"GET /ws HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        + Frame(Opcode.BINARY, hello).serialize(mask=True)
    )
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    assert (await reader.readexactly(2))[1] == 126, "the length follows in two bytes"
    length = int.from_bytes(await reader.readexactly(2))
    welcome = ServerMessage.FromString(await reader.readexactly(length))
    assert welcome.WhichOneof("payload") == "welcome"
    writer.close()


async def test_a_connection_that_fails_is_cut_off(
    service: Service, ready: Ready, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aiohttp has no handler for it any more, so the service itself ends it."""

    async def fail(*_: object) -> None:
        raise RuntimeError("a fault of the service")

    monkeypatch.setattr(ServerConnection, "serve", fail)
    async with connect(ready.url, proxy=None, compression=None) as socket:
        hello = Hello(token=TOKEN, protocol_version=1)
        await socket.send(ClientMessage(hello=hello).SerializeToString())
        with pytest.raises(ConnectionClosedError):
            await socket.recv()
    assert service._server is not None
    assert service._server.connections == 0


async def test_a_shutdown_cuts_off_connections_that_do_not_end(
    service: Service, ready: Ready, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(ServerConnection, "serve", hang)
    monkeypatch.setattr(transport.server.server, "LAST_CLOSE_TIMEOUT", 0.01)
    async with connect(ready.url, proxy=None, compression=None) as socket:
        hello = Hello(token=TOKEN, protocol_version=1)
        await socket.send(ClientMessage(hello=hello).SerializeToString())
        assert service._server is not None
        await service._server.shutdown()
        assert service._server.connections == 0
        with pytest.raises(ConnectionClosedError):
            await socket.recv()


async def test_without_private_names_messages_are_answered_the_same(
    ready: Ready, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(feed.FedWebSocket, "_post_start")

    def never(connection: ServerConnection, data: bytes) -> None:
        raise AssertionError(data)

    monkeypatch.setattr(ServerConnection, "take", never)
    await talk(ready)


@pytest.mark.parametrize("short_way", [True, False])
async def test_a_close_code_arrives_while_the_peer_still_sends(
    ready: Ready, monkeypatch: pytest.MonkeyPatch, short_way: bool
) -> None:
    if not short_way:
        monkeypatch.delattr(feed.FedWebSocket, "_post_start")
    socket = await connect(ready.url, proxy=None, compression=None)
    await socket.send(ClientMessage(hello=Hello(token=TOKEN)).SerializeToString())
    await socket.recv()
    with pytest.raises(ConnectionClosedError):
        await socket.send(bytes(16_000_000))
        await socket.recv()
    assert socket.close_code == CloseCode.TOO_BIG
    await socket.wait_closed()


async def test_what_overflows_one_read_is_answered_in_its_turn(
    ready: Ready, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages beyond those that are taken directly wait in the queue and keep their order."""
    monkeypatch.setattr(feed, "AT_ONCE", 4)
    monkeypatch.setattr(transport.server.connection, "AT_ONCE", 4)
    received: list[int] = []
    read_in = ServerConnection.receive

    async def note(connection: ServerConnection) -> bytes | None:
        data = await read_in(connection)
        received.append(0 if data is None else len(data))
        return data

    monkeypatch.setattr(ServerConnection, "receive", note)
    packed = AnyMessage()
    packed.Pack(Duration(seconds=1))
    async with greeted(ready) as socket:
        with_masks = b"".join(
            Frame(
                Opcode.BINARY, ClientMessage(request_id=n, call=packed).SerializeToString()
            ).serialize(mask=True)
            for n in range(1, 401)
        )
        socket.transport.write(with_masks)
        answers = [await next_of(socket) for _ in range(400)]
    assert [answer.request_id for answer in answers] == list(range(1, 401))
    assert len(received) > 2


class Recorded:
    """Replaces a connection's transport, and records the name of the connection at each write."""

    def __init__(self, name: str, written: list[str]) -> None:
        self._name = name
        self._written = written

    def write(self, data: bytes) -> None:
        self._written.append(self._name)

    def is_closing(self) -> bool:
        return False


async def test_connections_write_after_the_reads_of_a_turn_and_many_before_the_next_message(
    service: Service, ready: Ready, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport.server.outgoing, "TOGETHER", 2)
    packed = AnyMessage()
    packed.Pack(Duration(seconds=1))
    calls = [ClientMessage(request_id=n, call=packed).SerializeToString() for n in (1, 2)]
    written: list[str] = []
    async with greeted(ready), greeted(ready), greeted(ready):
        assert service._server is not None
        connections = dict(zip("abc", service._server._connections, strict=True))
        real = [connection._transport for connection in connections.values()]
        for name, connection in connections.items():
            connection._transport = Recorded(name, written)  # type: ignore[assignment]
        connections["a"].take(calls[0])
        await settle()
        assert written == ["a"], "what waits for nobody is written at the end of its turn"
        for name in "ab":
            connections[name].take(calls[1])
        connections["b"].take(ClientMessage(request_id=3, call=packed).SerializeToString())
        await settle()
        assert sorted(written[1:]) == ["a", "b"], "one write each, whatever they have said"
        if EAGER:  # otherwise nothing is answered before the turn ends
            written.clear()
            for name, connection in connections.items():
                connection.take(ClientMessage(request_id=9, call=packed).SerializeToString())
                if name == "b":
                    assert written == []
            assert written == ["a", "b"], "before the third was handled"
            await settle()
            assert written == ["a", "b", "c"]
        for connection, kept in zip(connections.values(), real, strict=True):
            connection._transport = kept
