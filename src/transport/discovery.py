"""Publishes and finds running services: one runtime file each, readable only by its user.

The file is `<user runtime dir>/callboard/<pid>.json`, of mode 0600 in a folder of mode 0700, and is
written atomically. It holds the token: whoever can read it may connect. ADR 0032 says how the
process behind it is identified.
"""

import json
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from platformdirs import user_cache_path, user_runtime_path

from transport import locks
from transport.errors import CannotPublish, NotRunning
from transport.folders import make_private
from transport.processes import (
    Judge,
    Life,
    ProcessIdentity,
    identify,
    number,
    parse_process,
    word,
)

_SUFFIX: Final = ".json"
_MAX_BYTES: Final = 64 * 1024
_WORDS: Final = ("url", "page", "token", "backend", "version")
_PROCESS: Final = "process"
"""The key of the process's identity, next to the fields of the record."""


@dataclass(frozen=True, slots=True)
class RuntimeRecord:
    """The contents of a runtime file. `started_at`: seconds since 1970."""

    pid: int
    url: str
    page: str
    token: str
    backend: str
    version: str
    started_at: float

    def __repr__(self) -> str:
        return f"<RuntimeRecord pid={self.pid} url={self.url}>"


@dataclass(frozen=True, slots=True)
class RuntimeFile:
    """A published runtime file. It is locked, if that is possible, until `withdraw`."""

    path: Path
    descriptor: int | None


@dataclass(frozen=True, slots=True)
class _Entry:
    """A valid runtime file, and whether its service runs.

    near: whether the service is in our own namespace.
    """

    path: Path
    record: RuntimeRecord
    life: Life
    near: bool


def default_folder() -> Path:
    """Return the folder of runtime files: `CALLBOARD_RUNTIME_DIR`, else the user's runtime folder.

    On Linux, `XDG_RUNTIME_DIR` counts only if it is a folder owned by this user: after `su` it is
    often another user's. Otherwise the folder is `/run/user/UID/callboard` or, if the user has no
    `/run/user/UID` either (a container, a cron job), `run` in the user's cache folder. It is never
    a name in a folder shared by all, which platformdirs would choose and others may create first.
    """
    if named := os.environ.get("CALLBOARD_RUNTIME_DIR"):
        return Path(named)
    if sys.platform != "linux":
        return user_runtime_path("callboard", appauthor=False)
    for folder in (os.environ.get("XDG_RUNTIME_DIR", ""), f"/run/user/{os.getuid()}"):
        if os.path.isabs(folder) and _is_own_folder(Path(folder)):
            return Path(folder, "callboard")
    return user_cache_path("callboard", appauthor=False) / "run"


def _is_own_folder(folder: Path) -> bool:
    try:
        status = folder.stat()
    except (OSError, ValueError):
        return False
    return stat.S_ISDIR(status.st_mode) and _is_own(status)


def _is_own(status: os.stat_result) -> bool:
    """Return whether a file is this user's; always so on Windows, which has no such owners."""
    if sys.platform == "win32":
        return True
    return status.st_uid == os.getuid()


def publish(folder: Path, record: RuntimeRecord) -> RuntimeFile:
    """Write the runtime file, and remove those of processes that have certainly ended.

    If the name is taken, that file is left alone and another name is chosen. Raises CannotPublish.
    """
    try:
        _make_private(folder)
        with locks.alone_in(folder) as alone:
            _sweep(folder, drafts=alone)
            return _write(folder, record)
    except OSError as error:
        reason = error.strerror or str(error)
        path = folder / f"{record.pid}{_SUFFIX}"
        raise CannotPublish(f"cannot write the runtime file {path}: {reason}") from error


def _write(folder: Path, record: RuntimeRecord) -> RuntimeFile:
    draft = folder / f".{record.pid}.{secrets.token_hex(8)}.tmp"
    descriptor: int | None = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    assert descriptor is not None
    try:
        locked = locks.acquire(descriptor)
        process = identify(record.pid).to_json(locked=locked)
        with os.fdopen(descriptor, "w", encoding="utf-8", closefd=not locked) as file:
            descriptor = descriptor if locked else None
            json.dump(asdict(record) | {_PROCESS: process}, file)
        return RuntimeFile(_name(draft, folder, record.pid), descriptor)
    except BaseException:
        if descriptor is not None:
            os.close(descriptor)
        raise
    finally:
        draft.unlink(missing_ok=True)


def _name(draft: Path, folder: Path, pid: int) -> Path:
    """Give the finished draft its final name, without replacing any file."""
    for ending in ("", *(f"-{secrets.token_hex(4)}" for _ in range(3))):
        path = folder / f"{pid}{ending}{_SUFFIX}"
        with suppress(FileExistsError):
            try:
                os.link(draft, path)
            except FileExistsError:
                raise
            except OSError:  # a file system without hard links
                if os.path.lexists(path):
                    continue
                draft.rename(path)
            return path
    raise FileExistsError(f"{folder} has too many files of process {pid}")


def _make_private(folder: Path) -> None:
    """Make the folder private. Raises CannotPublish if this user does not own it, or OSError."""
    make_private(folder)
    if sys.platform == "win32":
        return
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise CannotPublish(
            f"{folder} does not belong to this user, so no runtime file is written there"
        )
    if status.st_mode & stat.S_ISVTX:  # like /tmp: the chmod would lock out all others
        raise CannotPublish(f"{folder} is shared by all users, so no runtime file is written there")
    if status.st_mode & 0o077:
        folder.chmod(0o700)


def _sweep(folder: Path, *, drafts: bool) -> None:
    """Remove the files of ended processes and, with `drafts`, unfinished drafts."""
    for entry in _entries(folder):
        if entry.life is Life.DEAD:
            with suppress(OSError):
                entry.path.unlink()
    if drafts:  # no other process is writing one
        for path in folder.glob(".*.tmp"):
            with suppress(OSError):
                path.unlink()


def withdraw(file: RuntimeFile) -> None:
    """Remove the runtime file, if it is still there, and release its lock."""
    with suppress(OSError):
        if file.descriptor is None or os.path.samestat(
            os.fstat(file.descriptor), file.path.lstat()
        ):
            file.path.unlink()
    if file.descriptor is not None:
        with suppress(OSError):
            os.close(file.descriptor)


def find(folder: Path) -> RuntimeRecord:
    """Return the record of the most recently started running service. Raises NotRunning.

    A service in another container counts only if none runs here. One that cannot be determined to
    be running counts only if there is no other.
    """
    running = [entry for entry in _entries(folder) if entry.life is not Life.DEAD]
    if not running:
        raise NotRunning("no service is running (no runtime file names a running process)")
    return max(running, key=_preference).record


def _preference(entry: _Entry) -> tuple[bool, bool, float]:
    return entry.life is Life.ALIVE, entry.near, entry.record.started_at


def _entries(folder: Path) -> Iterator[_Entry]:
    judge = Judge(identify(os.getpid()))
    for path in folder.glob(f"*{_SUFFIX}"):
        if (entry := _read(path, judge)) is not None:
            yield entry


def _read(path: Path, judge: Judge) -> _Entry | None:
    """Return the file's entry; None if it is invalid or may be somebody else's."""
    try:
        # No links, which lead elsewhere, and no pipes, which would block.
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        descriptor = os.open(path, flags)
        try:
            if not _is_own_file(os.fstat(descriptor)):
                return None
            with os.fdopen(descriptor, encoding="utf-8", closefd=False) as file:
                text = file.read(_MAX_BYTES)
            held = locks.is_held(descriptor)
        finally:
            os.close(descriptor)
        record, process, locked = _parse(text)
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    if path.stem.partition("-")[0] != str(record.pid):
        return None
    life = judge.judge(process, locked=locked, held=held)
    return _Entry(path, record, life, judge.is_near(process))


def _is_own_file(status: os.stat_result) -> bool:
    """Return whether it is a regular file of this user; root may read anyone's."""
    if not stat.S_ISREG(status.st_mode):
        return False
    if sys.platform == "win32":
        return True
    return os.getuid() in (0, status.st_uid)


def _parse(text: str) -> tuple[RuntimeRecord, ProcessIdentity, bool]:
    """Return the record, its process, and whether that process locked the file.

    Raises ValueError, KeyError, TypeError, OverflowError or RecursionError if the text is invalid.
    """
    content = json.loads(text)
    process, locked = parse_process(content["pid"], content[_PROCESS])
    words = {name: word(content[name]) for name in _WORDS}
    started_at = number(content["started_at"])
    return RuntimeRecord(pid=process.pid, **words, started_at=started_at), process, locked
