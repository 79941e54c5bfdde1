"""Parse server-sent events from bytes, one at a time, in bounded memory. No I/O.

This follows the HTML standard, "Server-sent events", 9.2.6: LF, CR LF and CR end a line, and an
empty line ends an event. It is lenient where servers are known to deviate: JSON without a `data:`
field is an event of the kind BARE, and `end` returns an event that the end of the stream cut off.
"""

import re
from typing import Final, NamedTuple

MAX_EVENT: Final = 1024 * 1024
"""Maximum bytes of a line, and of the data of one event."""

BARE: Final = "bare"
"""The kind of an event that is JSON without a field name; some servers report errors this way."""

_DATA: Final = b"data: "
_LF: Final = 0x0A
_CR: Final = 0x0D
"""Numbers, because looking for a `bytes` first raises and drops a TypeError within CPython."""
_LINE_END: Final = re.compile(rb"[\r\n]")


def single(piece: bytes) -> bytes | None:
    """Return the data of a piece of a stream that is one event: one line of data, and nothing else.

    Returns None for any other. Only for a piece before which everything has been taken. A part of
    `EventReader.next`, repeated for the hot path.
    """
    if piece.startswith(_DATA) and piece.find(b"\n") == len(piece) - 2 and piece[-1] == _LF:
        data = piece[len(_DATA) : -2]
        return None if _CR in data else data
    return None


class EventTooLong(Exception):
    """A line, or the data of an event, is longer than allowed."""


class ServerEvent(NamedTuple):
    """An event: its type (empty if the server named none) and its data."""

    kind: str
    data: str


class EventReader:
    """Takes bytes as they arrive and returns events when asked.

    Nothing is parsed in advance. The reader holds the bytes that were fed and not yet returned; at
    most `limit` of them belong to one event. Invalid UTF-8 becomes U+FFFD.
    """

    def __init__(self, limit: int = MAX_EVENT) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._start = 0
        self._scanned = 0
        self._after_cr = False
        self._kind = ""
        self._data: list[bytes] = []
        self._data_bytes = 0

    @property
    def is_idle(self) -> bool:
        """Whether nothing is held, not even a part of an event that was begun."""
        return not (self._start < len(self._buffer) or self._data or self._kind or self._after_cr)

    @property
    def buffered(self) -> int:
        """The number of bytes held."""
        return len(self._buffer) - self._start + self._data_bytes

    def feed(self, data: bytes) -> None:
        """Append bytes to the buffer."""
        del self._buffer[: self._start]
        self._scanned -= self._start
        self._start = 0
        self._buffer += data

    def plain(self) -> bytes | None:
        """Return the data of the next event if that is one line of data and nothing else.

        Returns None for any other event, which `next` returns, and if more bytes are needed. A part
        of `next`, repeated for the hot path.
        """
        start = self._start
        if self._data or self._kind or self._after_cr or self._scanned > start:
            return None
        buffer = self._buffer
        if not buffer.startswith(_DATA, start):
            return None
        end = buffer.find(b"\n\n", start, start + self._limit)
        if end < 0:
            return None
        data = bytes(buffer[start + len(_DATA) : end])
        if _LF in data or _CR in data:
            return None
        self._start = self._scanned = end + 2
        return data

    def next(self) -> ServerEvent | None:
        """Return the next event, or None if more bytes are needed. Raises EventTooLong."""
        while (line := self._line()) is not None:
            if line:
                self._take(line)
            elif event := self._dispatch():
                return event
        return None

    def end(self) -> ServerEvent | None:
        """Return what is left at the end of the stream; call until it returns None.

        The last event may have been cut off. Raises EventTooLong.
        """
        if (event := self.next()) is not None:
            return event
        line = bytes(self._buffer[self._start :])
        self._start = self._scanned = len(self._buffer)
        if line:
            self._take(line)
        return self._dispatch()

    def _line(self) -> bytes | None:
        if self._after_cr and self._start < len(self._buffer):
            self._after_cr = False
            if self._buffer[self._start] == 0x0A:
                self._start += 1
        self._scanned = max(self._scanned, self._start)
        found = _LINE_END.search(self._buffer, self._scanned)
        end = len(self._buffer) if found is None else found.start()
        if end - self._start > self._limit:
            raise EventTooLong(f"a line of more than {self._limit} bytes")
        if found is None:
            self._scanned = end
            return None
        line = bytes(self._buffer[self._start : end])
        self._after_cr = self._buffer[end] == 0x0D
        self._start = end + 1
        return line

    def _take(self, line: bytes) -> None:
        if self._kind == BARE or (not self._data and line.startswith((b"{", b"[{"))):
            self._kind = BARE
            self._add(line)
            return
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"event":
            self._kind = value.decode(errors="replace")
        elif field == b"error":
            # Before 2025, llama.cpp sent its errors in a field of this name.
            self._kind = "error"
            self._add(value)
        elif field == b"data":
            self._add(value)

    def _add(self, value: bytes) -> None:
        self._data.append(value)
        self._data_bytes += len(value) + 1
        if self._data_bytes > self._limit:
            raise EventTooLong(f"an event of more than {self._limit} bytes")

    def _dispatch(self) -> ServerEvent | None:
        event = None
        if self._data:
            event = ServerEvent(self._kind, b"\n".join(self._data).decode(errors="replace"))
        self._kind, self._data, self._data_bytes = "", [], 0
        return event
