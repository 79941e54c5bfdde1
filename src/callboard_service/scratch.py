"""Makes scratch folders for child processes, and removes those that killed services have left.

Each is a private folder `callboard-<user>-<random>` in the system's temporary folder. A file in it
identifies the service it belongs to, as a runtime file does (ADR 0032).
"""

import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from transport import locks
from transport.processes import Judge, Life, identify, parse_process

_OWNER: Final = "owner.json"
_MAX_BYTES: Final = 64 * 1024
_LONGEST: Final = 40
"""Characters of the temporary folder's path. Beyond it `/tmp` is used, so that the path of a Unix
socket two folders further down still fits (unix(7): 108 on Linux, 104 on macOS)."""


@dataclass(frozen=True, slots=True)
class Scratch:
    """A scratch folder. If `remove` is never called, a service started later removes it."""

    path: Path
    _descriptor: int | None

    def remove(self) -> None:
        """Remove the folder and its contents; links are removed, not followed."""
        if self._descriptor is not None:
            with suppress(OSError):
                os.close(self._descriptor)
        shutil.rmtree(self.path, ignore_errors=True)


def make_scratch() -> Scratch:
    """Create a scratch folder of mode 0700. Raises OSError."""
    path = Path(tempfile.mkdtemp(prefix=_prefix(), dir=next(_places())))
    descriptor: int | None = None
    try:
        descriptor = os.open(path / _OWNER, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        locked = locks.acquire(descriptor)
        process = identify(os.getpid())
        content = {"pid": process.pid, "process": process.to_json(locked=locked)}
        os.write(descriptor, json.dumps(content).encode())
        if not locked:  # on Windows an open file could not be removed
            os.close(descriptor)
            descriptor = None
    except BaseException:
        Scratch(path, descriptor).remove()
        raise
    return Scratch(path, descriptor)


def sweep_scratch() -> int:
    """Remove this user's scratch folders whose service has certainly ended; return how many."""
    judge = Judge(identify(os.getpid()))
    left = [path for place in {*_places()} for path in place.glob(f"{_prefix()}*")]
    dead = [path for path in left if _is_own_folder(path) and _judge(path, judge) is Life.DEAD]
    for path in dead:
        shutil.rmtree(path, ignore_errors=True)
    return len(dead)


def _prefix() -> str:
    if sys.platform == "win32":
        return "callboard-"
    return f"callboard-{os.getuid()}-"


def _places() -> Iterator[Path]:
    """Yield the folders that may hold scratch folders, the one for new ones first."""
    named, short = Path(tempfile.gettempdir()).absolute(), Path("/tmp")  # noqa: S108  # mkdtemp
    if os.name == "posix" and len(str(named)) > _LONGEST and os.access(short, os.W_OK):
        yield short
    yield named


def _is_own_folder(path: Path) -> bool:
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and (
        sys.platform == "win32" or status.st_uid == os.getuid()
    )


def _judge(folder: Path, judge: Judge) -> Life:
    """Return whether the folder's service is running; UNKNOWN if its owner cannot be read."""
    try:
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        descriptor = os.open(folder / _OWNER, flags)
        try:
            content = json.loads(os.read(descriptor, _MAX_BYTES))
            held = locks.is_held(descriptor)
        finally:
            os.close(descriptor)
        process, locked = parse_process(content["pid"], content["process"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return Life.UNKNOWN
    return judge.judge(process, locked=locked, held=held)
