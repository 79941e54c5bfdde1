"""Runs transactions on the SQLite file under the conversation store.

Each connection has its own thread, in which its transactions run. A file has two
connections, so reads wait neither for writes nor for the locks that delay writes. A transaction
that fails changes nothing.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, Literal, Self, TypeAlias, TypeVar, cast

from callboard_service.store.connection import BUSY, Connection, kind_of
from callboard_service.store.errors import (
    StoreBroken,
    StoreBusy,
    StoreDamaged,
    StoreError,
    StoreFailed,
    StoreFull,
    StoreLost,
)
from callboard_service.store.file import OpenFile
from callboard_service.store.transaction import Transaction
from callboard_service.store.writes import Write, WriteQueue

T = TypeVar("T")
Location: TypeAlias = Path | Literal[":memory:"]

MAX_WAITING: Final = 1_000
"""Reads, or writes, that may wait for a thread."""

MAX_WAITING_ENTRIES: Final = 10_000
"""The same for writes that append history entries; higher, since a refused entry would be lost."""

CLOSE_GRACE: Final = 1.0
"""Seconds that jobs have to finish when the database is closed."""

OWN_WRITES: Final = 0.1
"""Seconds that a read waits for the writes submitted before it."""

_LAST_GRACE: Final = 0.3
"""Seconds for an interrupted statement to end."""

_CLOSE_WITHIN: Final = 2.0
"""Seconds that closing may take in all. The last connection's writes the log into the file."""

_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_BROKEN: Final = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)


class Database:
    """A database, in a file or in memory, with the threads that work on it. Create with `connect`.

    Cancelling the caller of `read` or `write` does not cancel the transaction. The caller then does
    not learn its outcome, as with a lost answer, but the transaction is never applied in part.
    """

    def __init__(self, label: str, uri: str, busy_timeout: float) -> None:
        self._label = label
        self._uri = uri
        self._busy_timeout = busy_timeout
        self._writer = Connection("conversations", busy_timeout)
        self._reader: Connection | None = None
        self._writes = WriteQueue(
            lambda writes: self._writer.thread.submit(partial(self._writer.write_all, writes))
        )
        self._file: OpenFile | None = None
        self._closing: asyncio.Task[None] | None = None

    @classmethod
    async def connect(
        cls,
        location: Location,
        *,
        busy_timeout: float,
        mode: Literal["ro", "rw"] = "rw",
    ) -> Self:
        """Open a connection to an existing file, or to a new database in memory. Raises StoreError.

        busy_timeout: seconds that a job waits for another process's lock, counted from when the job
        is submitted.
        """
        if isinstance(location, Path):
            uri, label = f"{location.absolute().as_uri()}?mode={mode}", str(location)
        else:
            uri, label = location, "the database in memory"
        database = cls(label, uri, busy_timeout)
        try:
            await database._run(database._writer, partial(database._writer.open, uri))
        except BaseException:
            await database.close()
            raise
        return database

    async def add_reader(self) -> None:
        """Open a second connection, which serves all reads from now on."""
        reader = self._reader = Connection("conversations, reading", self._busy_timeout)
        await self._run(reader, partial(reader.open, self._uri))
        await self._run(reader, reader.pragma("query_only = ON"))

    async def watch(self, path: Path) -> None:
        """Check at each transaction from now on that the file was not replaced or damaged."""
        await self._run(self._writer, partial(self._watch, path))

    async def pragma(self, statement: str) -> None:
        """Execute a PRAGMA on the writing connection, outside a transaction."""
        await self._run(self._writer, self._writer.pragma(statement))

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in the thread, on one snapshot of the database. Raises StoreError.

        The snapshot includes the writes submitted before, unless they wait for another process's
        lock or take longer than OWN_WRITES.
        """
        connection, write = self._reader or self._writer, self._writes.last
        if write is not None and not self._writer.waits_for_lock:
            await write.wait(OWN_WRITES)
        return await self._run(connection, connection.reading(work), MAX_WAITING)

    async def write(
        self,
        work: Callable[[Transaction], T],
        *,
        at_most: int | None = None,
        patient: bool = True,
        joins: bool = False,
    ) -> T:
        """Run `work` in the thread as the only writer, all or nothing. Raises StoreError.

        at_most: writes that may be waiting already; by default MAX_WAITING. patient: wait for a
        lock. joins: it may share its transaction with others that wait; `work` may then be called
        twice, and must be short.
        """
        self._require_open()
        write = Write(work, self._writer.deadline(patient=patient), joins=joins)
        self._writes.add(cast("Write[object]", write), at_most or MAX_WAITING)
        try:
            return await write.future
        except sqlite3.Error as error:
            raise _translation(self._label, error) from error

    def hurry(self, seconds: float) -> None:
        """Stop waiting for write locks `seconds` from now; a write then tries once."""
        asyncio.get_running_loop().call_later(seconds, self._writer.wait_no_longer)

    async def close(self, *, untouched: bool = False) -> None:
        """Close the connections and end the threads, within two seconds. May be called again.

        Running and waiting jobs may finish, but no longer wait for locks, and are interrupted after
        CLOSE_GRACE. A thread that still does not end is left behind. untouched: leave the file and
        its logs as they are. If the caller is cancelled, CancelledError is raised only after the
        database is closed.
        """
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(untouched=untouched))
        try:
            await asyncio.shield(self._closing)
        except asyncio.CancelledError:
            while not self._closing.done():
                with suppress(asyncio.CancelledError):  # cancelled again
                    await asyncio.wait({self._closing})
            raise

    async def _close(self, *, untouched: bool) -> None:
        until = asyncio.get_running_loop().time() + _CLOSE_WITHIN
        self._writes.flush()
        # The writer last: the last connection to close checkpoints the log into the file.
        connections = [found for found in (self._reader, self._writer) if found is not None]
        for connection in connections:
            connection.wait_no_longer()
        if await _until_idle(connections, CLOSE_GRACE):
            for connection in connections:
                connection.interrupt()
            if await _until_idle(connections, _LAST_GRACE):
                for connection in connections:  # in case the threads become free later
                    _ = connection.thread.submit(connection.close)
                    connection.thread.end()
                return
        file = self._file
        if untouched and file is not None:
            with file.hidden():
                done = await _close_all(connections, until)
        else:
            done = await _close_all(connections, until)
        if done and file is not None:
            file.part_with_logs()
            file.close()

    async def _run(
        self, connection: Connection, job: Callable[[], T], at_most: int | None = None
    ) -> T:
        """Run a job in the connection's thread and return its result. Raises StoreError.

        Cancelling the caller does not cancel the job; only the result is lost.
        """
        self._require_open()
        try:
            return await connection.thread.submit(job, at_most)
        except sqlite3.Error as error:
            raise _translation(self._label, error) from error

    def _require_open(self) -> None:
        if self._closing is not None:
            raise StoreFailed(f"{self._label} is closed")

    def _watch(self, path: Path) -> None:
        try:
            file = self._file = OpenFile(path)
        except OSError as error:  # removed since it was opened
            raise StoreLost(f"{path} can no longer be accessed: {error.strerror}") from error
        self._writer.file = file
        if self._reader is not None:
            self._reader.file = file


async def _until_idle(connections: Sequence[Connection], timeout: float) -> bool:
    """Wait until all jobs are done; return True if some are not after `timeout` seconds."""
    ends = [each.thread.submit(lambda: None) for each in connections]
    _, late = await asyncio.wait(ends, timeout=timeout)
    return bool(late)


async def _close_all(connections: Sequence[Connection], until: float) -> bool:
    """Close the connections one by one and end their threads; return True if all have closed.

    until: the loop's time when it waits no longer.
    """
    loop = asyncio.get_running_loop()
    for connection in connections:
        closed = connection.thread.submit(connection.close)
        connection.thread.end()
        done, _ = await asyncio.wait({closed}, timeout=max(until - loop.time(), 0))
        if not done:
            return False
        with suppress(sqlite3.Error):
            closed.result()
        connection.thread.join(max(until - loop.time(), 0))  # its last job is done
    return True


def _translation(label: str, error: sqlite3.Error) -> StoreError:
    """Return the StoreError for an error of SQLite."""
    kind = kind_of(error)
    if kind in BUSY:
        return StoreBusy(f"{label} is locked by another process")
    if kind == sqlite3.SQLITE_FULL:
        return StoreFull(f"{label} cannot grow: the disk is full")
    if kind in _DAMAGED:
        return StoreDamaged(f"{label} is damaged: {error}")
    if kind in _BROKEN:
        return StoreBroken(f"{label}: {error}")
    if kind == sqlite3.SQLITE_READONLY:
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_READONLY_DBMOVED:
            return StoreLost(f"{label} was removed or renamed while it was open")
        return StoreFailed(f"{label} cannot be written: {error}")
    return StoreFailed(f"{label}: {error}")
