"""Checks that the database file is still the one that was opened, and restricts who may read it.

SQLite works on open file descriptors. If the file is replaced it does not notice, and keeps
writing into a file that no longer has a name.
"""

import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from callboard_service.store.errors import StoreDamaged, StoreLost
from callboard_service.store.schema import APPLICATION_ID

LOGS: Final = ("-wal", "-shm")
"""Suffixes of the files that SQLite keeps beside a database in WAL mode."""

_MAGIC: Final = b"SQLite format 3\0"
_APPLICATION: Final = slice(68, 72)
_MARK: Final = APPLICATION_ID.to_bytes(4, "big")
_HEADER_BYTES: Final = 100
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO

Identity = tuple[int, int]


class OpenFile:
    """The state of a database file when it was opened, to detect later changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._name = os.fspath(path)  # the calls of `check` take half as long with it
        self._identity = _identity(path.stat())
        logs = map(os.fspath, _logs(path))
        self._logs = {log: found for log in logs if (found := identity(log)) is not None}
        self._size = 0
        # Must stay open as long as any connection: closing it drops the process's locks.
        self._descriptor = None if sys.platform == "win32" else os.open(path, os.O_RDONLY)
        self._overwritten = False
        self._marked = self._header()[_APPLICATION] == _MARK

    def check(self) -> None:
        """Compare the recorded state with the file as it is now; takes a few microseconds.

        Raises StoreLost if the file or its log was removed or replaced or cannot be reached, and
        StoreDamaged if the file was truncated or overwritten.
        """
        # Read before the file is looked at: another thread may note a larger size meanwhile.
        path, known = self._path, self._size
        try:
            status = os.stat(self._name)
        except FileNotFoundError:
            raise StoreLost(f"{path} was removed while it was open") from None
        except OSError as error:
            raise StoreLost(f"{path} can no longer be accessed: {error.strerror}") from error
        if _identity(status) != self._identity:
            raise StoreLost(f"{path} was replaced while it was open")
        if status.st_size < known:
            raise StoreDamaged(f"{path} is damaged: it was truncated while it was open")
        self._size = max(status.st_size, self._size)
        for log, found in self._logs.items():
            if identity(log) != found:
                raise StoreLost(f"{log} was removed or replaced while it was open")
        header = self._header()
        if header and not (
            header.startswith(_MAGIC) and (header[_APPLICATION] == _MARK or not self._marked)
        ):
            self._overwritten = True
            raise StoreDamaged(f"{path} is damaged: it was overwritten while it was open")

    def close(self) -> None:
        """Close the descriptor. Call it after closing the connections; may be called again."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def part_with_logs(self) -> None:
        """Set the logs aside if `check` found the file overwritten. Closed connections only.

        The logs belong to the previous content; SQLite would apply them to the new one.
        """
        if self._overwritten:
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
            for log in _logs(self._path):
                suffix = log.name.removeprefix(self._path.name)
                aside = self._path.with_name(f"{self._path.name}.damaged-{stamp}{suffix}")
                with suppress(OSError):
                    os.link(log, aside)
                    log.unlink()

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Give the file another name within the block, if it still has its own.

        Closing a connection within the block leaves the file as it is: SQLite checkpoints the log
        on closing only if the database is found under its name. Otherwise it would write into
        whatever has replaced the content. Does nothing on Windows, or if the other name is taken.
        """
        path, away = self._path, self._path.with_name(f"{self._path.name}.closing")
        if sys.platform == "win32" or identity(path) != self._identity or away.exists():
            yield
            return
        with suppress(OSError):
            path.rename(away)
        try:
            yield
        finally:
            _give_back(away, path)

    def _header(self) -> bytes:
        """Return the first bytes of the file; empty if it cannot be read."""
        if sys.platform == "win32" or self._descriptor is None:
            return b""
        try:
            return os.pread(self._descriptor, _HEADER_BYTES, 0)
        except OSError:
            return b""


def _give_back(away: Path, path: Path) -> None:
    """Rename `away` to `path`, unless a file of that name exists by now."""
    try:
        os.link(away, path)  # unlike a rename, this never replaces a file
        away.unlink()
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links
        with suppress(OSError):
            if away.exists() and not path.exists():
                away.rename(path)


def identity(path: Path | str) -> Identity | None:
    """Return the device and inode of the file at `path`; None if it cannot be found."""
    try:
        return _identity(os.stat(path))
    except OSError:
        return None


def tighten(path: Path) -> str:
    """Remove other users' permissions on a database and its logs.

    Return one line about what was or could not be changed, and about a folder that is open to
    others; empty if there is nothing to report. The folder's mode is not changed, since it may hold
    more than the database. Does nothing on Windows.
    """
    if sys.platform == "win32":
        return ""
    said = []
    for file in (path, *_logs(path)):
        with suppress(OSError):  # most databases have no logs
            mode = stat.S_IMODE(file.stat().st_mode)
            if mode & _OTHERS:
                said.append(_tightened(file, mode))
    with suppress(OSError):
        mode = stat.S_IMODE(path.parent.stat().st_mode)
        if mode & _OTHERS:
            said.append(f"the folder {path.parent} is open to others ({mode:04o}); 0700 is safer")
    return "; ".join(said)


def _tightened(file: Path, mode: int) -> str:
    try:
        file.chmod(mode & ~_OTHERS)
    except OSError as error:
        return f"{file} is open to others ({mode:04o}), which cannot be changed: {error.strerror}"
    return f"{file} was open to others ({mode:04o}); it is {mode & ~_OTHERS:04o} now"


def _logs(path: Path) -> list[Path]:
    return [path.with_name(path.name + log) for log in LOGS]


def _identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino
