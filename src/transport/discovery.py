"""Being found: one runtime file for each running service, readable by its user alone.

`<user runtime dir>/callboard/<pid>.json`, mode 0600 in a folder of mode 0700, written whole or not
at all. It holds the token: who can read it may connect.
"""

import json
import os
import secrets
import stat
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

import psutil
from platformdirs import user_cache_path, user_runtime_path

from transport.errors import CannotPublish, NotRunning

_SUFFIX: Final = ".json"
_MAX_BYTES: Final = 64 * 1024
_CLOCK_SLACK: Final = 2.0
"""Seconds by which the system's and our reading of the same moment may differ."""


@dataclass(frozen=True, slots=True)
class RuntimeRecord:
    """What a runtime file says. `started_at`: seconds since 1970."""

    pid: int
    url: str
    page: str
    token: str
    backend: str
    version: str
    started_at: float

    def __repr__(self) -> str:
        return f"<RuntimeRecord pid={self.pid} url={self.url}>"


def default_folder() -> Path:
    """Where runtime files belong: `CALLBOARD_RUNTIME_DIR`, else the user's runtime folder.

    On a Linux without one (a container, a cron job) it is `run` in the user's cache folder, and not
    the name in a folder shared by all that platformdirs would take, which others may make first.
    """
    if named := os.environ.get("CALLBOARD_RUNTIME_DIR"):
        return Path(named)
    if sys.platform == "linux" and not os.environ.get("XDG_RUNTIME_DIR"):
        folder = Path(f"/run/user/{os.getuid()}")
        if not folder.is_dir():
            return user_cache_path("callboard", appauthor=False) / "run"
        return folder / "callboard"
    return user_runtime_path("callboard", appauthor=False)


def publish(folder: Path, record: RuntimeRecord) -> Path:
    """Write the runtime file and strike out those of dead processes. Raises CannotPublish."""
    path = folder / f"{record.pid}{_SUFFIX}"
    try:
        _make_private(folder)
        _sweep(folder)
        draft = folder / f".{record.pid}.{secrets.token_hex(8)}.tmp"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(asdict(record), file)
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise CannotPublish(f"cannot write the runtime file {path}: {reason}") from error
    return path


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.name != "posix":
        return
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise CannotPublish(f"{folder} is no folder of this user's: no runtime file goes there")
    if status.st_mode & 0o077:
        folder.chmod(0o700)


def _sweep(folder: Path) -> None:
    for path in folder.glob(f"*{_SUFFIX}"):
        if path.stem.isdecimal() and _read(path) is None:
            with suppress(OSError):
                path.unlink()


def withdraw(path: Path) -> None:
    """Remove the runtime file, if it is still there."""
    with suppress(OSError):
        path.unlink()


def find(folder: Path) -> RuntimeRecord:
    """The running service that was started last. Raises NotRunning."""
    records = [record for path in folder.glob(f"*{_SUFFIX}") if (record := _read(path))]
    if not records:
        raise NotRunning("no service is running (no runtime file names a living process)")
    return max(records, key=lambda record: record.started_at)


def _read(path: Path) -> RuntimeRecord | None:
    """What the file says, if it makes sense and its process lives."""
    try:
        with path.open(encoding="utf-8") as file:
            content = json.loads(file.read(_MAX_BYTES))
        record = RuntimeRecord(
            **{field.name: content[field.name] for field in fields(RuntimeRecord)}
        )
        # A process that began after the service did is another one with the same number.
        began = psutil.Process(record.pid).create_time()
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return None
    ours = path.stem == str(record.pid) and began <= record.started_at + _CLOCK_SLACK
    return record if ours else None
