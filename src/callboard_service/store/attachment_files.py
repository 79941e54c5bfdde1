"""The files of attachments: one folder, in which a thread of its own reads and writes.

A file is written under a temporary name, and has its own one only when it is whole.
"""

import asyncio
import errno
import hashlib
import os
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

from callboard_service.store.thread import JobThread
from transport.folders import make_private

T = TypeVar("T")

PARTIAL: Final = ".part"
"""The suffix of the name of a file that is being written."""

CLOSE_GRACE: Final = 1.0
"""Seconds that the thread has to finish when the files are closed."""


class AttachmentFiles:
    """The files in one folder. The folder and the thread are made when they are first needed.

    place: returns the folder's path; called in the thread. Every coroutine method raises OSError.
    """

    def __init__(self, place: Callable[[], Path]) -> None:
        self._place = place
        self._folder: Path | None = None
        self._thread: JobThread | None = None
        self.active: set[str] = set()
        """The names of the files that are being written, or whose row is."""

    def move(self, place: Callable[[], Path]) -> None:
        """Use another folder from now on; files that are being written are not moved."""
        self._place, self._folder = place, None

    def new(self, name: str) -> "NewFile":
        """Return a new file of this name, which is created when it is first written."""
        self.active.add(name)
        return NewFile(self, name)

    async def read(self, name: str, offset: int = 0, size: int = -1) -> bytes:
        """Return up to `size` bytes of a file from `offset` on; -1: all of them."""

        def read() -> bytes:
            with (self.folder() / name).open("rb") as file:
                file.seek(offset)
                return file.read(size)

        return await self.run(read)

    async def names(self) -> set[str]:
        """Return the names of all files, those that are being written aside."""

        def names() -> set[str]:
            with suppress(FileNotFoundError), os.scandir(self.folder()) as entries:
                return {entry.name for entry in entries}
            return set()

        found = await self.run(names)
        return {name for name in found if name.removesuffix(PARTIAL) not in self.active}

    async def remove(self, names: Collection[str]) -> None:
        """Remove files; those that are gone already are no error."""

        def remove() -> None:
            for name in names:
                with suppress(FileNotFoundError):
                    (self.folder() / name).unlink()

        await self.run(remove)

    async def close(self) -> None:
        """End the thread once it has done what it was given; wait for that only briefly."""
        thread, self._thread = self._thread, None
        if thread is not None:
            done = thread.submit(lambda: None)
            thread.end()
            finished, _ = await asyncio.wait({done}, timeout=CLOSE_GRACE)
            if finished:
                thread.join(CLOSE_GRACE)

    def folder(self) -> Path:
        """Return the folder's path. Call it in the thread."""
        self._folder = self._folder or self._place()
        return self._folder

    async def run(self, job: Callable[[], T]) -> T:
        """Run a job in the thread. Cancelling the caller does not cancel the job."""
        return await self.submit(job)

    def submit(self, job: Callable[[], T]) -> "asyncio.Future[T]":
        """Have the thread run a job after those before it, and return its future."""
        self._thread = self._thread or JobThread("attachments")
        return self._thread.submit(job)


class NewFile:
    """A file that is being written. Call `finish` and then `keep`, or else `discard`."""

    def __init__(self, files: AttachmentFiles, name: str) -> None:
        self.name: str = name
        self.size: int = 0
        """The bytes written so far."""
        self._files = files
        self._hash = hashlib.sha256()
        self._descriptor: int | None = None
        self._folder: Path | None = None

    async def write(self, data: bytes) -> None:
        """Append data. Raises OSError."""
        self.size += len(data)
        await self._files.run(lambda: self._append(data))

    async def finish(self) -> bytes:
        """Give the whole file its name, and return its SHA-256. Raises OSError."""
        return await self._files.run(self._finish)

    def keep(self) -> None:
        """Note that the file's row is stored, or may be."""
        self._files.active.discard(self.name)

    def discard(self) -> None:
        """Remove the file soon, after what it was given to write."""
        removed = self._files.submit(self._remove)
        removed.add_done_callback(lambda _: self._files.active.discard(self.name))

    def _append(self, data: bytes) -> None:
        rest = memoryview(data)
        descriptor = self._opened()
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        self._hash.update(data)

    def _opened(self) -> int:
        if self._descriptor is None:
            folder = self._folder = self._files.folder()
            make_private(folder)
            # Without O_BINARY, Windows would change line ends.
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
            self._descriptor = os.open(folder / (self.name + PARTIAL), flags, 0o600)
        return self._descriptor

    def _finish(self) -> bytes:
        self._opened()  # an empty file was not written
        self._close()
        folder = self._folder
        assert folder is not None
        if folder != self._files.folder():
            raise OSError(errno.ESTALE, "the conversation store was replaced meanwhile")
        (folder / (self.name + PARTIAL)).rename(folder / self.name)
        return self._hash.digest()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _remove(self) -> None:
        with suppress(OSError):
            self._close()
        if self._folder is not None:
            for name in (self.name + PARTIAL, self.name):
                with suppress(OSError):  # the next start removes it
                    (self._folder / name).unlink()
