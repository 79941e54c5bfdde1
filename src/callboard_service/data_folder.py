"""Keeps a second service out of the data folder.

The lock is that of a file in the folder. It ends with the process that holds it, however that ends.
The file says who that is, for a person to read. It is never removed: a service that had just opened
it would then lock a file without a name, and the next one another file.
"""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from callboard_service.errors import BadSettings, FolderInUse
from transport import locks
from transport.folders import make_private

FILE: Final = "service.lock"
"""The name of the file in the data folder."""

_MAX_BYTES: Final = 4096


class FolderLock:
    """A lock on the data folder. Release it once nothing uses the folder any more."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def name_owner(self, url: str = "") -> None:
        """Write this process and its address into the file, for those who find it locked."""
        self._write(json.dumps({"pid": os.getpid(), "url": url}))

    def release(self) -> None:
        """Release the lock. May be called again."""
        self._write("")
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _write(self, text: str) -> None:
        """Replace the file's content; a full disk costs the text alone."""
        if self._descriptor is not None:
            with suppress(OSError):
                os.ftruncate(self._descriptor, 0)
                os.lseek(self._descriptor, 0, os.SEEK_SET)
                os.write(self._descriptor, text.encode())


def lock_folder(folder: Path, report: Callable[[str], object]) -> FolderLock | None:
    """Lock a data folder, creating it if missing, until the lock is released or the process ends.

    Returns None, after one line to `report`, if the file system has no locks. Raises FolderInUse if
    another service holds the lock, and BadSettings if the folder cannot be used.
    """
    make_folder(folder)
    path = folder / FILE
    try:
        # Not through a link, since the file is overwritten.
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        raise BadSettings(f"data_dir: {path}: {error.strerror}") from error
    try:
        granted = locks.hold(descriptor)
    except OSError as error:
        os.close(descriptor)
        report(f"the data folder {folder} cannot be locked: {error.strerror}")
        return None
    if not granted:
        owner = _owner(descriptor)
        os.close(descriptor)
        raise FolderInUse(f"the data folder {folder} is in use by {owner}")
    lock = FolderLock(descriptor)
    lock.name_owner()
    return lock


def make_folder(folder: Path) -> None:
    """Create the data folder if it is missing. Raises BadSettings."""
    try:
        make_private(folder)
    except OSError as error:
        raise BadSettings(f"data_dir: {folder}: {error.strerror}") from error


def _owner(descriptor: int) -> str:
    """Describe the service that holds the lock, as far as the file says who it is."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        os.lseek(descriptor, 0, os.SEEK_SET)
        content = json.loads(os.read(descriptor, _MAX_BYTES))
        pid, url = content["pid"], content["url"]
        if type(pid) is int and isinstance(url, str):
            return f"the service of process {pid}" + (f" at {url}" if url else "")
    return "another service"
