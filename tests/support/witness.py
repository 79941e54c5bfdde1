"""Tells whether any process of a tree is left, whatever session and parent it has."""

import asyncio
import os
from pathlib import Path


class Witness:
    """A pipe that a process opens for writing, and that all it starts hold open while they run."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "witness"
        os.mkfifo(self.path)
        self._reader = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)

    def nobody_left(self) -> bool:
        """Return whether no process holds the pipe, which one must have opened before."""
        try:
            return os.read(self._reader, 1) == b""
        except BlockingIOError:
            return False

    async def wait(self) -> None:
        """Wait until no process holds the pipe."""
        os.set_blocking(self._reader, True)
        await asyncio.to_thread(os.read, self._reader, 1)

    def close(self) -> None:
        os.close(self._reader)
