"""The fault proxy does what it claims; otherwise, tests that use it would prove nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.peers.fault_proxy import Direction, Fault, FaultProxy, Kind, Toxics

HELLO = b"0123456789" * 10


class Ends:
    """Streams at both ends of a connection through the proxy."""

    def __init__(self, proxy: FaultProxy) -> None:
        self.proxy = proxy
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter
        self.far_reader: asyncio.StreamReader
        self.far_writer: asyncio.StreamWriter


@asynccontextmanager
async def ends(toxics: Toxics) -> AsyncIterator[Ends]:
    arrived: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    server = await asyncio.start_server(lambda *pair: arrived.put_nowait(pair), "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with FaultProxy(host, port, lambda: toxics) as proxy:
        both = Ends(proxy)
        both.reader, both.writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        both.far_reader, both.far_writer = await arrived.get()
        try:
            yield both
        finally:
            both.writer.close()
            both.far_writer.close()
    server.close()


async def to_the_end(reader: asyncio.StreamReader) -> bytes | None:
    """Read to the end and return the data; None if the connection is reset."""
    try:
        return await reader.read()
    except ConnectionResetError:
        return None


@pytest.mark.parametrize(
    "toxics",
    [Toxics(), Toxics(slice=1), Toxics(latency=0.0005), Toxics(bandwidth=100_000.0, slice=10)],
)
async def test_without_a_fault_all_passes(toxics: Toxics) -> None:
    async with ends(toxics) as both:
        both.writer.write(HELLO)
        assert await both.far_reader.readexactly(len(HELLO)) == HELLO
        both.far_writer.write(HELLO)
        both.far_writer.write_eof()
        assert await to_the_end(both.reader) == HELLO
        both.writer.write(b"more")
        both.writer.write_eof()
        assert await to_the_end(both.far_reader) == b"more"
        assert not both.proxy.faults


async def test_slices_arrive_one_by_one() -> None:
    loop = asyncio.get_running_loop()
    async with ends(Toxics(slice=1, latency=0.001)) as both:
        began = loop.time()
        both.writer.write(HELLO[:20])
        assert len(await both.far_reader.read(100)) < 20
        await both.far_reader.readexactly(1)
        assert loop.time() > began


@pytest.mark.parametrize("after", [0, 1, 37])
async def test_a_cut_is_an_orderly_end_on_both_sides(after: int) -> None:
    async with ends(Toxics(fault=Fault(Kind.CUT, Direction.UP, after))) as both:
        both.writer.write(HELLO)
        assert await to_the_end(both.far_reader) == HELLO[:after]
        assert not await to_the_end(both.reader)
        assert both.proxy.faults == {Kind.CUT: 1}


async def test_a_reset_is_one_on_both_sides() -> None:
    async with ends(Toxics(fault=Fault(Kind.RESET, Direction.DOWN, 5))) as both:
        both.far_writer.write(HELLO)
        assert await to_the_end(both.reader) in (None, HELLO[:5])
        assert await to_the_end(both.far_reader) is None
        assert both.proxy.faults == {Kind.RESET: 1}


async def test_a_half_close_leaves_the_other_half() -> None:
    async with ends(Toxics(fault=Fault(Kind.HALF_CLOSE, Direction.UP, 5))) as both:
        both.writer.write(HELLO)
        assert await to_the_end(both.far_reader) == HELLO[:5]
        both.far_writer.write(HELLO)
        assert await both.reader.readexactly(len(HELLO)) == HELLO
        assert both.proxy.faults == {Kind.HALF_CLOSE: 1}


async def test_nothing_leaves_a_black_hole_and_nobody_is_told() -> None:
    async with ends(Toxics(fault=Fault(Kind.BLACK_HOLE, Direction.DOWN, 5))) as both:
        both.far_writer.write(HELLO)
        assert await both.reader.readexactly(5) == HELLO[:5]
        both.writer.write(HELLO)
        both.far_writer.write(HELLO)
        both.writer.close()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await both.far_reader.read()
        assert both.proxy.faults == {Kind.BLACK_HOLE: 1}


async def test_a_proxy_that_refuses_takes_nobody() -> None:
    async with ends(Toxics()) as both:
        both.proxy.refuses = True
        reader, writer = await asyncio.open_connection("127.0.0.1", both.proxy.port)
        assert not await to_the_end(reader)
        writer.close()
        both.proxy.cut()
        assert await to_the_end(both.far_reader) is None
