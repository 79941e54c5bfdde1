"""The end of what a command prints, as text. No I/O."""

from typing import Final

_LONGEST: Final = 4
"""Bytes of a character in UTF-8."""


class OutputTail:
    """Keeps the newest bytes. limit: how many."""

    def __init__(self, limit: int) -> None:
        self.total = 0
        """Bytes of the whole output."""
        self._limit = limit
        self._kept = bytearray()

    def add(self, data: bytes) -> None:
        """Add what was printed."""
        self.total += len(data)
        self._kept += data
        del self._kept[: -self._limit]

    def text(self, limit: int, *, whole: bool) -> tuple[str, bool]:
        """Return the newest text, and whether something before it is left out.

        limit: its bytes in UTF-8 at most; it begins with a whole character. Bytes that are no text
        become U+FFFD. whole: whether nothing follows; otherwise a character that has only begun is
        left out.
        """
        data = bytes(self._kept)
        left_out = self.total > len(data)
        if left_out:
            data = _from_character(data)
        if not whole:
            data = _complete(data)
        said = data.decode(errors="replace")
        encoded = said.encode()
        if len(encoded) <= limit:
            return said, left_out
        return _from_character(encoded[len(encoded) - limit :]).decode(), True


def _from_character(data: bytes) -> bytes:
    """Return the data without the end of a character at its beginning."""
    at = 0
    while at < min(len(data), _LONGEST - 1) and data[at] & 0xC0 == 0x80:
        at += 1
    return data[at:]


def _complete(data: bytes) -> bytes:
    """Return the data without the beginning of a character at its end."""
    for back in range(1, min(len(data), _LONGEST - 1) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0x80:
            continue
        size = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
        return data[:-back] if size > back else data
    return data
