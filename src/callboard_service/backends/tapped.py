"""Takes the bytes of an aiohttp response as they are read, without a task that waits for them.

aiohttp's parser hands each piece of a body to its StreamReader, which wakes the task that reads it:
of a stream that brings one token at a time, that is nearly half of the cost of reading it. A
tapped reader hands the pieces on itself; untapped, it is aiohttp's own again.

The one use of a name that aiohttp does not document as an interface is `StreamReader.feed_data`,
which the parser calls. `AVAILABLE` is the switch: if it does not behave as expected, a response is
read as usual (docs/adr/0059).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from aiohttp import StreamReader

if TYPE_CHECKING:
    import asyncio


class Tap(NamedTuple):
    """What happens with the rest of a body. took: with a piece; ended: at its end or an error."""

    took: Callable[[bytes], None]
    ended: Callable[[], None]


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


@contextmanager
def tapped(reader: StreamReader, tap: Tap) -> Iterator[None]:
    """Hand the pieces of the body to `tap` within the block, as they are read.

    What the reader holds already stays there. `untap` may be called before the block ends.
    """
    _TAPS[id(reader)] = tap
    reader.__class__ = _Tapped
    try:
        yield
    finally:
        untap(reader)


def untap(reader: StreamReader) -> None:
    """Have the reader keep what it is fed from now on."""
    if _TAPS.pop(id(reader), None) is not None:
        reader.__class__ = StreamReader


def is_as_expected() -> bool:
    """Return whether a reader can be tapped and untapped, and is itself afterwards."""
    pieces: list[bytes] = []
    try:
        # Nothing waits on it; for None, the reader would create one.
        loop = cast("asyncio.AbstractEventLoop", object())
        reader = StreamReader(_Unread(), 2**16, loop=loop)  # type: ignore[arg-type]  # unused
        reader.feed_data(b"a")
        ended: list[None] = []
        with tapped(reader, Tap(pieces.append, lambda: ended.append(None))):
            reader.feed_data(b"b")
            untap(reader)
            reader.feed_data(b"c")
        reader.feed_eof()
        read = reader.read_nowait(-1)
    except Exception:  # noqa: BLE001 - whatever is different, it is not as expected
        return False
    return (pieces, read, ended, type(reader)) == ([b"b"], b"ac", [], StreamReader)


class _Unread:
    """The part of a protocol that a reader uses which is never full."""

    _reading_paused = False

    def resume_reading(self, **how: object) -> None: ...
    def pause_reading(self) -> None: ...


AVAILABLE: Final = is_as_expected()
"""Whether this aiohttp can be used so."""
