"""The bytes of a response that are handed on as they are read."""

import asyncio
from itertools import pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from aiohttp import StreamReader
from aiohttp.client_proto import ResponseHandler
from hypothesis import given
from hypothesis import strategies as st

from callboard_service.backends.tapped import Tap, only_chunk, tapped, untap
from tests.support.written import Written

if TYPE_CHECKING:
    from aiohttp.connector import Connection

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Transport(Written):
    """A fake transport to which a test gives what has been read."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._protocol: asyncio.BaseProtocol = protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def pause_reading(self) -> None: ...

    def read(self, data: bytes) -> None:
        cast("asyncio.Protocol", self._protocol).data_received(data)


class Exchange:
    """A response of which the head has been read. parsed: the reads that aiohttp's parser gets."""

    def __init__(
        self, reader: StreamReader, handler: ResponseHandler, transport: Transport
    ) -> None:
        self.reader = reader
        self.handler = handler
        self.transport = transport
        self.connection = cast("Connection", SimpleNamespace(protocol=handler))
        self.parsed: list[bytes] = []


async def begun() -> Exchange:
    handler = ResponseHandler(asyncio.get_running_loop())
    transport = Transport(handler)
    handler.connection_made(transport)
    handler.set_response_params(auto_decompress=False)
    transport.read(HEAD)
    _, reader = await handler.read()
    exchange = Exchange(reader, handler, transport)
    received = handler.data_received

    def data_received(data: bytes) -> None:
        exchange.parsed.append(data)
        received(data)

    handler.data_received = data_received  # type: ignore[method-assign]  # to see what it gets
    return exchange


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[begin:end] for begin, end in pairwise(places)]


async def test_a_whole_chunk_does_not_reach_the_parser() -> None:
    exchange = await begun()
    taken: list[bytes] = []
    with tapped(exchange.reader, Tap(taken.append, lambda: None), exchange.connection):
        for content in (b"one", b"two", b"a" * 300):
            exchange.transport.read(chunk(content))
    assert taken == [b"one", b"two", b"a" * 300]
    # The first shows that a chunk has ended; before it, any part of one may have been read.
    assert exchange.parsed == [chunk(b"one")]


@given(
    contents=st.lists(st.binary(min_size=1, max_size=20) | st.just(b"\r\n"), max_size=8),
    cuts=st.lists(st.integers(min_value=0), max_size=12),
    at_chunks=st.booleans(),
)
def test_a_body_is_the_same_however_it_is_read(
    contents: list[bytes], cuts: list[int], at_chunks: bool
) -> None:
    chunks = [chunk(content) for content in contents]
    reads = chunks if at_chunks else pieces_of(b"".join(chunks), cuts)
    reads = [*reads, *pieces_of(b"0\r\n\r\n", cuts)]

    async def read() -> tuple[bytes, int]:
        exchange = await begun()
        taken: list[bytes] = []
        ended: list[None] = []
        tap = Tap(taken.append, lambda: ended.append(None))
        with tapped(exchange.reader, tap, exchange.connection):
            for data in reads:
                exchange.transport.read(data)
        return b"".join(taken), len(ended)

    assert asyncio.run(read()) == (b"".join(contents), 1)


async def test_a_reader_without_its_tap_gets_the_rest() -> None:
    """The tap may be taken off while it takes a piece; the protocol is replaced only later."""
    exchange = await begun()
    taken: list[bytes] = []

    def take(piece: bytes) -> None:
        taken.append(piece)
        if piece == b"enough":
            untap(exchange.reader)

    with tapped(exchange.reader, Tap(take, lambda: None), exchange.connection):
        for content in (b"one", b"enough", b"later"):
            exchange.transport.read(chunk(content))
    exchange.transport.read(chunk(b"last"))
    assert taken == [b"one", b"enough"]
    assert exchange.reader.read_nowait(-1) == b"laterlast"
    assert exchange.transport.get_protocol() is exchange.handler


async def test_the_end_of_a_connection_reaches_its_reader() -> None:
    exchange = await begun()
    ended: list[None] = []
    tap = Tap(lambda _: None, lambda: ended.append(None))
    with tapped(exchange.reader, tap, exchange.connection):
        exchange.transport.read(chunk(b"one"))
        protocol = exchange.transport.get_protocol()
        protocol.connection_lost(ConnectionResetError())
    assert ended
    assert exchange.reader.exception() is not None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n",
        b"0\r\n\r\n",
        b"3\r\none",
        b"3\r\none\r",
        b"4\r\none\r\n",
        b"3;x=y\r\none\r\n",
        b"+3\r\none\r\n",
        b"03\r\none\r\n",
        b"A\r\n0123456789\r\n",
        b"3\r\none\r\n3\r\ntwo\r\n",
    ],
)
def test_only_one_whole_chunk_in_its_usual_form_is_taken(data: bytes) -> None:
    assert only_chunk(data) is None
    assert only_chunk(b"3\r\none\r\n") == b"one"
