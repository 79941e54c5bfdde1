"""From a path to a usable conversation database, or to one line that says why not.

The order of it: look at what is there with a connection that cannot write; set a damaged file
aside; refuse what is not ours; only then open it for writing and bring it to the newest version.
"""

import asyncio
import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final, Literal

from callboard_service.store.database import Database, Location, Transaction
from callboard_service.store.errors import (
    StoreBusy,
    StoreDamaged,
    StoreError,
    StoreRefused,
)
from callboard_service.store.file import LOGS, identity, tighten
from callboard_service.store.schema import APPLICATION_ID, MIGRATIONS, Migration
from transport.folders import make_private

# How often to look whether a lock is gone that SQLite does not wait for by itself.
_LOOK_AGAIN_S: Final = 0.02

# The log first: see `_set_aside`.
_PARTS: Final = (*LOGS, "")


async def open_database(
    location: Location,
    *,
    busy_timeout: float,
    clock: Callable[[], datetime],
    report: Callable[[str], None],
    thorough: bool = False,
) -> Database:
    """Open, and where needed make, the database at `location`, at the newest version.

    A damaged file is set aside as `NAME.damaged-YYYYmmddTHHMMSSZ` (UTC, by `clock`), with its
    `-wal` and `-shm`, `report` gets one line about it, and a new one is made. Rights of others to
    the file are taken away, which `report` gets in one line. thorough: compare indices with their
    tables too, after damage was met. Raises StoreRefused, and nothing else of the store's errors;
    the file is then as it was.
    """
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
            if aside is not None:  # the new file too: it is the disk
                raise StoreRefused(str(damaged)) from damaged
            aside = _set_aside(path, found, clock())
            if aside is not None:
                report(f"{damaged}; it is kept as {aside}, and a new one is made")
        except StoreBusy as busy:
            # Two processes switch a new file to WAL at once: SQLite refuses one without waiting.
            if asyncio.get_running_loop().time() >= deadline:
                raise StoreRefused(str(busy)) from busy
            await asyncio.sleep(_LOOK_AGAIN_S)
        except StoreRefused:
            raise
        except StoreError as error:
            raise StoreRefused(str(error)) from error


def _make_place(location: Path) -> Path:
    """Where the database really is, with its folder and at least an empty file there."""
    try:
        # Behind a symbolic link SQLite keeps the log beside the file, not beside the link.
        path = location.resolve()
        make_private(path.parent)
        # SQLite would make it readable to others. It gives the log the rights of the database. An
        # existing file is not touched: closing it here would drop the locks that this process has
        # on it.
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        mode = path.stat().st_mode  # raises for links in a circle, where `is_file` says False
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
            raise StoreRefused(f"{path} is {kind}; a database file is wanted")
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of symbolic links, before 3.13
        reason = getattr(error, "strerror", None) or error
        raise StoreRefused(f"{location} cannot be made or read: {reason}") from error
    return path


async def _examine(path: Path, busy_timeout: float, *, thorough: bool = False) -> None:
    """Raise StoreRefused for what is not ours to write, StoreDamaged for what is broken."""
    # Read-only, so that a refused file is untouched, and a damaged one keeps its log: the last
    # writer to close would work that into the file and delete it. (What this one may leave beside
    # it, an empty log, the next writer takes away.) A rollback journal, though, needs a writer.
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
        raise StoreDamaged(f"{path} is damaged: its pages do not fit together")


async def _prepare(location: Location, busy_timeout: float) -> Database:
    database = await Database.connect(location, busy_timeout=busy_timeout)
    try:
        # Readers and the writer do not wait for each other. Where the file system cannot do it,
        # SQLite stays with its rollback journal, and every promise holds.
        await database.pragma("journal_mode = WAL")
        # A commit is handed to the operating system, so it outlives the process, killed or not.
        # FULL would also sync to the disk each time: what a power loss takes from NORMAL are the
        # last commits, never the consistency of the file, and a conversation is not worth
        # milliseconds in every reply for that.
        await database.pragma("synchronous = NORMAL")
        while await database.write(partial(_migrate, str(location), MIGRATIONS)):
            pass
        # Not before: a migration may have to take a table apart.
        await database.pragma("foreign_keys = ON")
        if isinstance(location, Path):
            await database.add_reader()
            # So that the file itself says whose it is, and not only its log.
            await database.pragma("wal_checkpoint(PASSIVE)")
            await database.watch(location)
    except BaseException:
        await database.close()
        raise
    return database


def _migrate(label: str, migrations: Sequence[Migration], transaction: Transaction) -> bool:
    """Go one version up, if there is one.

    It takes the write lock either way, so that a database that nobody may write to is found here
    and not by the first message.
    """
    version = transaction.number("PRAGMA user_version")
    if version > len(migrations):  # another process, since it was examined
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
    """Rename the damaged file and what belongs to it. None: another process was first."""
    try:
        with _alone_in(path.parent):
            if identity(path) != found:
                return None
            aside = _free_name(path, now)
            # If this process dies between two renames, the database that is left without its log is
            # still damaged and follows it. A log left without its database would be deleted by
            # SQLite.
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
    """Keep other processes that set a file aside out of `folder` meanwhile.

    The second one would take the first one's new database for the damaged one.
    """
    with ExitStack() as stack:
        if sys.platform != "win32":  # there an open file cannot be renamed anyway
            import fcntl

            handle = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX)  # held for three renames
        yield
