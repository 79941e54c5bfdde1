"""Advisory locks that tell whether the process that wrote a file still runs, or keep others out.

A lock belongs to an open file and ends with its process, however that ends. The kernel answers for
processes in other containers too, where a process number is meaningless. On Windows only `hold`
takes a lock: elsewhere none is needed, since a process number has only one meaning there.
"""

import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_WAIT: Final = 2.0
"""Seconds for which to retry locking a folder that another process has locked."""

_PAUSE: Final = 0.02

_BEYOND: Final = 2**30
"""On Windows, nobody else can read a locked byte. So one that no file has is locked."""


def hold(descriptor: int) -> bool:
    """Lock the open file until it is closed, on every system. Return whether that was granted.

    Others can still read and write the file. Raises OSError if the file system has no locks.
    """
    if sys.platform == "win32":
        import msvcrt

        os.lseek(descriptor, _BEYOND, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EDEADLK):
                return False
            raise
        return True
    return _try(descriptor, shared=False)


def acquire(descriptor: int) -> bool:
    """Lock the open file until it is closed. Return whether the lock was granted."""
    try:
        return _try(descriptor, shared=False)
    except OSError:
        return False


def is_held(descriptor: int) -> bool | None:
    """Return whether another process holds the lock; None if the file system has no locks.

    The check takes a shared lock for a moment, so any number of processes may check at once. Close
    the file soon afterwards: until then, its lock cannot be acquired.
    """
    if sys.platform == "win32":
        return None
    try:
        return not _try(descriptor, shared=True)
    except OSError:
        return None


@contextmanager
def alone_in(folder: Path) -> Iterator[bool]:
    """Keep other processes that use this function out of the folder for the duration.

    Yields whether that succeeded. It fails if there are no locks, or if another process has held
    the folder for two seconds: a stopped process must not hold up all others.
    """
    if sys.platform == "win32":
        yield False
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield _wait_for(descriptor)
    finally:
        os.close(descriptor)


def _wait_for(descriptor: int) -> bool:
    """Lock the open file within _WAIT seconds. Return whether the lock was granted."""
    deadline = time.monotonic() + _WAIT
    try:
        while not (granted := _try(descriptor, shared=False)) and time.monotonic() < deadline:
            time.sleep(_PAUSE)
    except OSError:  # there are no locks
        return False
    return granted


def _try(descriptor: int, *, shared: bool) -> bool:
    """Return whether the lock was granted. Raises OSError if there are no locks."""
    if sys.platform == "win32":
        return False
    import fcntl

    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # PermissionError: EACCES, from network file systems
        return False
    return True
