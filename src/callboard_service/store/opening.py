"""Opens the conversation database at a path, or explains in one line why it cannot be used.

The steps: examine the file over a read-only connection; set a damaged file aside; refuse a file
that is not ours; only then open it for writing and migrate it to the newest version.
"""

import asyncio
import os
import sqlite3
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final, Literal

from callboard_service.store.database import Database, Location
from callboard_service.store.errors import (
    StoreBusy,
    StoreDamaged,
    StoreError,
    StoreRefused,
)
from callboard_service.store.file import LOGS, identity, tighten
from callboard_service.store.schema import APPLICATION_ID, MIGRATIONS, Migration
from callboard_service.store.transaction import Transaction
from transport.folders import make_private

OLDEST: Final = (3, 35)
"""The oldest version of SQLite that can be used: the first with RETURNING (2021)."""

# Seconds between two attempts to get a lock that SQLite does not wait for by itself.
_LOOK_AGAIN_S: Final = 0.02

# The logs come first; see `_set_aside`.
_PARTS: Final = (*LOGS, "")


async def open_database(
    location: Location,
    *,
    busy_timeout: float,
    clock: Callable[[], datetime],
    report: Callable[[str], None],
    thorough: bool = False,
) -> Database:
    """Open the database at `location`, creating or migrating it as needed.

    A damaged file is renamed to `NAME.damaged-YYYYmmddTHHMMSSZ` (UTC, by `clock`) together with its
    `-wal` and `-shm`, and a new one is created; other users' permissions on the file are removed.
    Each is reported in one line to `report`. thorough: also compare the indices with their tables;
    for use after damage was found. busy_timeout: seconds to wait for another process's lock.

    Raises StoreRefused and no other store error; the conversations in the file are then unchanged.
    """
    if sqlite3.sqlite_version_info < OLDEST:
        needed = ".".join(map(str, OLDEST))
        raise StoreRefused(
            f"this Python has SQLite {sqlite3.sqlite_version}; {needed} or newer is needed"
        )
    if not isinstance(location, Path):
        return await _prepare(location, busy_timeout)
    deadline = asyncio.get_running_loop().time() + busy_timeout
    aside: Path | None = None
    while True:
        path = _make_place(location)
        found = identity(path)
        try:
            await _examine(path, busy_timeout, thorough=thorough)
            if line := tighten(path):
                report(line)
            return await _prepare(path, busy_timeout)
        except StoreDamaged as damaged:
            if aside is not None:  # the new file is damaged too: blame the disk
                raise StoreRefused(str(damaged)) from damaged
            aside = _set_aside(path, found, clock())
            if aside is not None:
                report(f"{damaged}; it was moved to {aside}, and a new one is created")
        except StoreBusy as busy:
            # If two processes switch a new file to WAL at once, SQLite fails one without waiting.
            if asyncio.get_running_loop().time() >= deadline:
                raise StoreRefused(str(busy)) from busy
            await asyncio.sleep(_LOOK_AGAIN_S)
        except StoreRefused:
            raise
        except StoreError as error:
            raise StoreRefused(str(error)) from error


def _make_place(location: Path) -> Path:
    """Return the resolved path, after creating the folder and an empty file if missing.

    Raises StoreRefused.
    """
    try:
        # SQLite keeps the log beside the target of a symbolic link, not beside the link.
        path = location.resolve()
        make_private(path.parent)
        # SQLite would create the file readable to others; it gives the log the database's mode.
        # An existing file is not opened: closing it here would drop this process's locks on it.
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        mode = path.stat().st_mode  # raises for a loop of links, where `is_file` returns False
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
            raise StoreRefused(f"{path} is {kind}; expected a database file")
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of symbolic links, before 3.13
        reason = getattr(error, "strerror", None) or error
        raise StoreRefused(f"{location} cannot be created or read: {reason}") from error
    return path


async def _examine(path: Path, busy_timeout: float, *, thorough: bool = False) -> None:
    """Raise StoreRefused if the file is not ours to write, StoreDamaged if it is corrupt."""
    # Read-only, so that a refused file stays untouched and a damaged one keeps its log: the last
    # writer to close would checkpoint the log into the file and delete it. (This connection may
    # leave an empty log behind, which the next writer removes.) A rollback journal, however, can
    # only be rolled back by a writer.
    mode: Literal["ro", "rw"] = "rw" if _has_journal(path) else "ro"
    database = await Database.connect(path, busy_timeout=busy_timeout, mode=mode)
    try:
        await database.read(partial(_check, path, thorough))
    finally:
        await database.close()


def _check(path: Path, thorough: bool, transaction: Transaction) -> None:
    application = transaction.number("PRAGMA application_id")
    if application != APPLICATION_ID:
        used = application or transaction.number("SELECT count(*) FROM sqlite_master")
        if used:
            raise StoreRefused(f"{path} is the database of another application")
    elif transaction.number("PRAGMA user_version") > len(MIGRATIONS):
        raise StoreRefused(f"{path} was made by a newer version of Callboard")
    faults = transaction.row(f"PRAGMA {'integrity_check' if thorough else 'quick_check'}(1)")
    if faults is None or faults[0] != "ok":
        raise StoreDamaged(f"{path} is damaged: its pages are inconsistent")


async def _prepare(location: Location, busy_timeout: float) -> Database:
    database = await Database.connect(location, busy_timeout=busy_timeout)
    try:
        # With WAL, readers and the writer do not block each other. Where the file system does not
        # support it, SQLite keeps its rollback journal, and every guarantee still holds.
        await database.pragma("journal_mode = WAL")
        # A commit is handed to the operating system, so it survives the death of the process. FULL
        # would also sync to the disk each time, which costs every reply milliseconds. With NORMAL a
        # power loss can lose the last commits, but never the consistency of the file.
        await database.pragma("synchronous = NORMAL")
        while await database.write(partial(_migrate, str(location), MIGRATIONS)):
            pass
        # Only after the migrations: one of them may have to rebuild a table.
        await database.pragma("foreign_keys = ON")
        if isinstance(location, Path):
            await database.add_reader()
            # Moves the application id from the log into the file itself.
            await database.pragma("wal_checkpoint(PASSIVE)")
            await database.watch(location)
    except BaseException:
        await database.close()
        raise
    return database


def _migrate(label: str, migrations: Sequence[Migration], transaction: Transaction) -> bool:
    """Apply the next migration; return whether there was one. Raises StoreRefused.

    The transaction takes the write lock either way, so a database that cannot be written to is
    detected here and not at the first message.
    """
    version = transaction.number("PRAGMA user_version")
    if version > len(migrations):  # another process has migrated it since it was examined
        raise StoreRefused(f"{label} was made by a newer version of Callboard")
    if version == len(migrations):
        return False
    for statement in migrations[version]:
        transaction.change(statement)
    transaction.change(f"PRAGMA user_version = {version + 1}")
    return True


def _has_journal(path: Path) -> bool:
    return os.path.lexists(f"{path}-journal")


def _set_aside(path: Path, found: tuple[int, int] | None, now: datetime) -> Path | None:
    """Rename the damaged file and its logs; return the new path.

    Returns None if another process has already replaced the file. Raises StoreRefused.
    """
    try:
        with _alone_in(path.parent):
            if identity(path) != found:
                return None
            aside = _free_name(path, now)
            # The logs go first. If this process dies between two renames, the database left without
            # its log is still damaged and is set aside at the next start. SQLite would delete a log
            # left without its database.
            for part in _PARTS:
                with suppress(FileNotFoundError):
                    path.with_name(path.name + part).rename(aside.with_name(aside.name + part))
            return aside
    except OSError as error:
        raise StoreRefused(f"{path} is damaged and cannot be renamed: {error.strerror}") from error


def _free_name(path: Path, now: datetime) -> Path:
    stem = f"{path.name}.damaged-{now:%Y%m%dT%H%M%SZ}"
    number = 1
    while True:
        aside = path.with_name(stem if number == 1 else f"{stem}-{number}")
        if not any(os.path.lexists(f"{aside}{part}") for part in _PARTS):
            return aside
        number += 1


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes from setting a file in `folder` aside at the same time.

    Otherwise the second process would take the first one's new database for the damaged one.
    """
    with ExitStack() as stack:
        if sys.platform != "win32":  # Windows does not rename an open file anyway
            import fcntl

            handle = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX)  # held for at most three renames
        yield
