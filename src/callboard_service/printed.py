"""Provides replacements for `sys.stdout` and `sys.stderr` that pass lines on and never block.

Warnings, tracebacks and a handler's prints go through these names. In a service none of them may
wait for the reader of standard output or standard error.
"""

import io
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

LONGEST: Final = 16 * 1024
"""The most bytes of a line; a longer one is split."""


class _Lines(io.BufferedIOBase):
    """Splits written data into lines and passes them to `put`.

    descriptor: the number that `fileno` returns.
    """

    def __init__(self, put: Callable[[str], None], descriptor: int) -> None:
        super().__init__()
        self.name = f"<descriptor {descriptor}>"
        self._put = put
        self._descriptor = descriptor
        self._rest = b""
        self._lock = threading.RLock()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: "ReadableBuffer", /) -> int:
        written = bytes(data)
        with self._lock:
            *lines, rest = (self._rest + written).split(b"\n")
            while len(rest) > LONGEST:
                lines.append(rest[:LONGEST])
                rest = rest[LONGEST:]
            self._rest = rest
        for line in lines:
            self._put(line.decode(errors="backslashreplace"))
        return len(written)


def printed_lines(put: Callable[[str], None], descriptor: int) -> TextIO:
    """Return a text stream that calls `put` with each line, without the newline."""
    return io.TextIOWrapper(
        _Lines(put, descriptor), encoding="utf-8", errors="backslashreplace", write_through=True
    )
