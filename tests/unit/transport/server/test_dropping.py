"""The end of a connection whose peer keeps sending, on a manual clock and over TLS."""

import asyncio
import ssl
from pathlib import Path

import pytest
from aiohttp import WebSocketError, WSMessage, WSMsgType

from actors.runtime.deadlines import Deadlines
from actors.testing import ManualClock, settle
from tests.support.peers.certificates import make_certificate
from tests.support.written import Written
from transport.codes import CloseCode
from transport.server.connection import CLOSE_TIMEOUT, ConnectionEnvironment, ServerConnection
from transport.server.dropping import LONGEST, SILENCE, TLS_SILENCE, Dropping
from transport.server.feed import Taker
from transport.server.outgoing import Outgoing
from transport.wire.framing import close_frame


class Before(asyncio.Protocol):
    """The original protocol of a connection, which records its calls."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append("lost")


class Connection(Written):
    """A transport whose peer is the test. half: it can be half-closed."""

    def __init__(self, *, half: bool = True) -> None:
        super().__init__()
        self.before = Before()
        self.protocol: asyncio.BaseProtocol = self.before
        self.half = half
        self.reading = False
        self.aborted = False
        self.closed = False
        self.unsent = 0

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self.protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def resume_reading(self) -> None:
        self.reading = True

    def can_write_eof(self) -> bool:
        return self.half

    def write_eof(self) -> None:
        self.written.append(b"EOF")

    def abort(self) -> None:
        if not self.aborted:
            self.aborted = True
            self.lose()

    def close(self) -> None:
        self.closed = True

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def is_closing(self) -> bool:
        return self.aborted or self.closed

    def lose(self) -> None:
        assert isinstance(self.protocol, asyncio.Protocol)
        self.protocol.connection_lost(None)

    def receive(self, data: bytes) -> None:
        assert isinstance(self.protocol, asyncio.Protocol)
        self.protocol.data_received(data)


async def test_what_comes_is_dropped_until_the_peer_ends_the_connection() -> None:
    connection, clock = Connection(), ManualClock()
    ending = asyncio.ensure_future(Dropping(connection, clock).end())
    await settle()
    assert connection.reading
    assert connection.written == [b"EOF"]
    connection.receive(b"x" * 1000)
    connection.lose()
    await ending
    assert connection.before.told == ["lost"]
    assert not connection.aborted
    await clock.advance(LONGEST)
    assert not connection.aborted


async def test_a_silent_peer_is_cut_off_and_one_that_sends_is_not() -> None:
    connection, clock = Connection(), ManualClock()
    ending = asyncio.ensure_future(Dropping(connection, clock).end())
    await settle()
    for _ in range(3):
        connection.receive(b"x")
        await clock.advance(SILENCE)
        assert not connection.aborted
    await clock.advance(SILENCE)
    assert connection.aborted
    await ending


async def test_a_peer_that_never_ends_is_cut_off_in_the_end() -> None:
    connection, clock = Connection(), ManualClock()
    ending = asyncio.ensure_future(Dropping(connection, clock).end())
    await settle()
    seconds = 0.0
    while not connection.aborted:
        connection.receive(b"x")
        await clock.advance(1.0)
        seconds += 1.0
    assert LONGEST <= seconds <= LONGEST + SILENCE
    await ending


async def test_a_peer_that_waits_for_us_is_not_kept_waiting() -> None:
    connection, clock = Connection(half=False), ManualClock()
    ending = asyncio.ensure_future(Dropping(connection, clock).end())
    await settle()
    await clock.advance(TLS_SILENCE)
    assert connection.aborted
    assert connection.written == []
    await ending


async def test_a_connection_that_has_ended_already_is_not_waited_for() -> None:
    connection, clock = Connection(), ManualClock()
    dropping = Dropping(connection, clock)
    connection.lose()
    await dropping.end()
    assert connection.before.told == ["lost"]


async def test_the_protocol_before_hears_whether_the_peer_keeps_up() -> None:
    connection = Connection()
    Dropping(connection, ManualClock())
    assert isinstance(connection.protocol, asyncio.Protocol)
    connection.protocol.pause_writing()
    connection.protocol.resume_writing()
    assert connection.before.told == ["pause", "resume"]


class Faulty:
    """A WebSocket that has received these messages."""

    stalled = False

    def __init__(self, *messages: WSMessage) -> None:
        self.out = Connection()
        self.over = False
        self._messages = list(messages)

    @property
    def transport(self) -> asyncio.Transport | None:
        return None if self.over else self.out

    async def drain(self) -> None: ...

    async def receive(self) -> WSMessage:
        return self._messages.pop(0)

    def take_with(self, taker: Taker) -> None: ...

    def take_no_more(self) -> None: ...


FAULT = WSMessage(WSMsgType.ERROR, WebSocketError(1002, "a bad frame"), None)


def connection_of(line: Faulty, clock: ManualClock | None = None) -> ServerConnection:
    clock = clock or ManualClock()
    return ServerConnection(
        line, ConnectionEnvironment(clock, Deadlines(clock), Outgoing(), 10.0, slow=60.0)
    )


async def test_the_close_says_what_was_wrong() -> None:
    line = Faulty(FAULT)
    connection = connection_of(line)
    assert await connection.receive() is None
    ending = asyncio.ensure_future(connection.refuse(CloseCode.PROTOCOL_ERROR, "not this"))
    await settle()
    assert line.out.written == [close_frame(1002, "a bad frame"), b"EOF"]
    line.out.lose()
    await ending


async def test_a_fault_while_a_close_is_answered_is_dropped_too() -> None:
    line = Faulty(WSMessage(WSMsgType.BINARY, b"", None), FAULT)
    ending = asyncio.ensure_future(connection_of(line).refuse(CloseCode.BAD_TOKEN, "bad token"))
    await settle()
    assert line.out.written == [close_frame(4501, "bad token"), b"EOF"]
    assert not ending.done()
    line.out.lose()
    await ending


async def test_a_fault_that_is_looked_at_after_the_end_is_not_waited_for() -> None:
    """This happens if one read has pings before the fault, and a reset follows at once."""
    line = Faulty(FAULT)
    connection = connection_of(line)
    line.over = True
    assert await connection.receive() is None
    await connection.refuse(CloseCode.PROTOCOL_ERROR, "not this")
    assert line.out.protocol is line.out.before


async def test_a_peer_that_keeps_sending_has_longer_than_the_close_timeout() -> None:
    line, clock = Faulty(FAULT), ManualClock()
    connection = connection_of(line, clock)
    assert await connection.receive() is None
    ending = asyncio.ensure_future(connection.refuse(CloseCode.PROTOCOL_ERROR, "not this"))
    for _ in range(4):
        await clock.advance(CLOSE_TIMEOUT / 2)
        line.out.receive(b"x")
        assert not line.out.aborted
    line.out.lose()
    await ending


async def test_unsent_bytes_over_tls_have_longer() -> None:
    connection, clock = Connection(half=False), ManualClock()
    connection.unsent = 100
    ending = asyncio.ensure_future(Dropping(connection, clock).end())
    await settle()
    await clock.advance(TLS_SILENCE)
    assert not connection.is_closing()
    await clock.advance(SILENCE)
    assert connection.is_closing()
    await ending


async def test_a_transport_that_never_reports_its_end_is_not_waited_for() -> None:
    connection, clock = Connection(), ManualClock()
    connection.abort = lambda: None  # type: ignore[method-assign]  # as if it were lost
    ending = asyncio.ensure_future(Dropping(connection, clock).end())
    await settle()
    await clock.advance(SILENCE)
    await ending


@pytest.mark.parametrize("eof", [False, True])
async def test_over_tls(tmp_path: Path, eof: bool) -> None:
    """What was written arrives over real sockets, though megabytes are still to be read."""
    certificate = make_certificate(tmp_path)
    ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ours.load_cert_chain(certificate.chain, certificate.key)
    clock = ManualClock()
    dropped = asyncio.get_running_loop().create_future()

    class First(asyncio.Protocol):
        """Begins to drop data after the first bytes."""

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            dropping = Dropping(self.transport, clock)
            self.transport.write(b"the end")
            dropped.set_result(asyncio.ensure_future(dropping.end()))

    server = await asyncio.get_running_loop().create_server(First, "127.0.0.1", 0, ssl=ours)
    host, port = server.sockets[0].getsockname()
    theirs = ssl.create_default_context(cafile=str(certificate.chain))
    reader, writer = await asyncio.open_connection(host, port, ssl=theirs)
    writer.write(bytes(8_000_000))
    await writer.drain()
    assert await reader.readexactly(7) == b"the end"
    if eof:
        writer.close()
    else:
        await clock.advance(LONGEST)
        assert await reader.read() == b""
        writer.close()
    await (await dropped)
    server.close()
