"""Takes the bytes of an aiohttp response as they are read, without a task that waits for them.

aiohttp's parser hands each piece of a body to its StreamReader, which wakes the task that reads it:
of a stream that brings one token at a time, that is nearly half of the cost of reading it. A
tapped reader hands the pieces on itself; untapped, it is aiohttp's own again.

A piece that is one whole chunk of HTTP's chunked encoding, as nearly every token is, does not even
reach the parser, which such a piece leaves as it was: `_BetweenChunks` stands before it.

This relies on methods of `StreamReader` that aiohttp does not document as an interface: those that
its parser calls. `AVAILABLE` is the switch: if they do not behave as expected, a response is read
as usual (docs/adr/0059).
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, cast

from aiohttp import StreamReader

if TYPE_CHECKING:
    from aiohttp.connector import Connection

_LINE_END: Final = b"\r\n"
_LONGEST_SIZE: Final = 10
"""Bytes of a chunk that may hold its size and the end of that line."""


class Tap:
    """What happens with the rest of a body. took: with a piece; ended: at its end or an error."""

    __slots__ = ("between", "ended", "took")

    def __init__(self, took: Callable[[bytes], None], ended: Callable[[], None]) -> None:
        self.took: Callable[[bytes], None] = took
        self.ended: Callable[[], None] = ended
        self.between: bool = False
        """Whether the parser's latest report was the end of a chunk."""


_TAPS: Final[dict[int, Tap]] = {}
"""By the id of the reader, which has no room for another attribute."""


class _Tapped(StreamReader):
    """A StreamReader of aiohttp while it is tapped: the class of its instances is changed."""

    __slots__ = ()

    def feed_data(self, data: bytes, size: int = 0) -> bool:
        """Hand a piece on, or keep it once the tap was taken off."""
        tap = _TAPS.get(id(self))
        if tap is None:
            return bool(super().feed_data(data, size))
        if data:
            tap.took(data)
        return False

    def begin_http_chunk_receiving(self) -> None:
        """Note that a chunk has begun."""
        super().begin_http_chunk_receiving()
        if (tap := _TAPS.get(id(self))) is not None:
            tap.between = False

    def end_http_chunk_receiving(self) -> None:
        """Note that a chunk has ended."""
        super().end_http_chunk_receiving()
        if (tap := _TAPS.get(id(self))) is not None:
            tap.between = True

    def feed_eof(self) -> None:
        """Tell that the body is complete."""
        super().feed_eof()
        self._tell()

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        """Tell that the connection failed."""
        if exc_cause is None:
            super().set_exception(exc)
        else:
            super().set_exception(exc, exc_cause)
        self._tell()

    def _tell(self) -> None:
        tap = _TAPS.get(id(self))
        if tap is not None:
            tap.ended()


class _BetweenChunks(asyncio.Protocol):
    """The protocol of a connection while its response is tapped; aiohttp's is behind it.

    It takes a read that is exactly one chunk, between two others; aiohttp's takes everything else.
    """

    def __init__(self, inner: asyncio.Protocol, tap: Tap) -> None:
        self._inner = inner
        self._tap = tap

    def data_received(self, data: bytes) -> None:
        """Take one chunk, or have aiohttp take the data."""
        tap = self._tap
        if tap.between:
            piece = only_chunk(data)
            if piece is not None:
                tap.took(piece)
                return
            tap.between = False
        self._inner.data_received(data)
        # After the end of a chunk, the size of the next one may have begun.
        tap.between = tap.between and data.endswith(_LINE_END)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell aiohttp's protocol, like the three methods below."""
        self._inner.connection_lost(exc)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()


def only_chunk(data: bytes) -> bytes | None:
    """Return the content of a chunk that is all of the data; None for anything else.

    Only the usual form of its size counts: hexadecimal, in small letters, without zeros before it.
    """
    end = data.find(_LINE_END, 0, _LONGEST_SIZE)
    size = len(data) - end - 4
    if end > 0 and size > 0 and data[:end] == b"%x" % size and data.endswith(_LINE_END):
        return data[end + 2 : -2]
    return None


@contextmanager
def tapped(
    reader: StreamReader, tap: Tap, connection: "Connection | None" = None
) -> Iterator[None]:
    """Hand the pieces of the body to `tap` within the block, as they are read.

    What the reader holds already stays there. `untap` may be called before the block ends.
    connection: the response's, if its chunks may go past aiohttp's parser. They then do not count
    for aiohttp's timeout `sock_read`, and must not be compressed.
    """
    _TAPS[id(reader)] = tap
    reader.__class__ = _Tapped
    try:
        with _before_parser(connection, tap):
            yield
    finally:
        untap(reader)


@contextmanager
def _before_parser(connection: "Connection | None", tap: Tap) -> Iterator[None]:
    """Take the chunks of this connection before aiohttp does, within the block."""
    handler = None if connection is None else connection.protocol
    transport = None if handler is None else handler.transport
    if handler is None or transport is None:
        yield
        return
    protocol = _BetweenChunks(handler, tap)
    transport.set_protocol(protocol)
    try:
        yield
    finally:
        if transport.get_protocol() is protocol:
            transport.set_protocol(handler)


def untap(reader: StreamReader) -> None:
    """Have the reader keep what it is fed from now on."""
    if (tap := _TAPS.pop(id(reader), None)) is not None:
        tap.between = False
        reader.__class__ = StreamReader


def is_as_expected() -> bool:
    """Return whether a reader can be tapped and untapped, and is itself afterwards."""
    pieces: list[bytes] = []
    try:
        # Nothing waits on it; for None, the reader would create one.
        loop = cast("asyncio.AbstractEventLoop", object())
        reader = StreamReader(_Unread(), 2**16, loop=loop)  # type: ignore[arg-type]  # unused
        reader.begin_http_chunk_receiving()
        reader.feed_data(b"a")
        reader.end_http_chunk_receiving()
        ended: list[None] = []
        tap = Tap(pieces.append, lambda: ended.append(None))
        between: list[bool] = []
        with tapped(reader, tap):
            reader.begin_http_chunk_receiving()
            reader.feed_data(b"b")
            reader.end_http_chunk_receiving()
            between.append(tap.between)
            untap(reader)
            between.append(tap.between)
            reader.feed_data(b"c")
        reader.feed_eof()
        read = reader.read_nowait(-1)
    except Exception:  # noqa: BLE001 - whatever is different, it is not as expected
        return False
    seen = (pieces, read, ended, between, type(reader))
    return seen == ([b"b"], b"ac", [], [True, False], StreamReader)


class _Unread:
    """The part of a protocol that a reader uses which is never full."""

    _reading_paused = False

    def resume_reading(self, **how: object) -> None: ...
    def pause_reading(self) -> None: ...


AVAILABLE: Final = is_as_expected()
"""Whether this aiohttp can be used so."""
