"""The other end of a service's standard error, which is read, not read, or closed."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Final

if sys.platform == "linux":
    import fcntl

PIPE_BYTES: Final = 4096
"""The capacity of the pipe, which is small so that it soon fills up when nobody reads it."""


class LogPipe:
    """A pipe whose content goes into a file while it is read."""

    def __init__(self, path: Path) -> None:
        self.inner, self._outer = os.pipe()
        if sys.platform == "linux":
            fcntl.fcntl(self.inner, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        os.set_blocking(self.inner, False)
        self._file = path.open("ab", buffering=0)
        self._open = True
        self.read()

    @property
    def outer(self) -> int:
        """Return the descriptor for the service."""
        return self._outer

    def started(self) -> None:
        """Close this process's copy of the service's end."""
        os.close(self._outer)

    def read(self) -> None:
        """Start reading."""
        if self._open:
            asyncio.get_running_loop().add_reader(self.inner, self._take)

    def leave(self) -> None:
        """Stop reading until `read`."""
        if self._open:
            asyncio.get_running_loop().remove_reader(self.inner)

    def close(self) -> None:
        """Close the reader's end for good."""
        if self._open:
            self.leave()
            self._open = False
            os.close(self.inner)
            self._file.close()

    def _take(self) -> None:
        if data := os.read(self.inner, 65536):
            self._file.write(data)
        else:
            self.close()
