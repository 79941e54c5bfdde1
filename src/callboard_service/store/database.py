"""The SQLite file under the conversation store: its connections and its transactions.

A connection has a thread of its own, and a transaction is one job of it. A file has two of them:
what reads does not wait for what writes, or for who keeps it from writing. Whatever fails leaves
what was there before.
"""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final, Literal, Self, TypeAlias, TypeVar, cast

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
from callboard_service.store.thread import JobThread

T = TypeVar("T")
Location: TypeAlias = Path | Literal[":memory:"]
SqlValue: TypeAlias = str | int | None

MAX_WAITING: Final = 1_000
"""Jobs that may wait for a thread."""

MAX_WAITING_ENTRIES: Final = 10_000
"""The same for jobs that add what has been said: it would be lost."""

CLOSE_GRACE: Final = 1.0
"""Seconds that jobs have to finish once the database is being closed."""

OWN_WRITES: Final = 0.1
"""Seconds that a read waits for writes that were asked for before it."""

_LAST_GRACE: Final = 0.3
"""Seconds for a statement to end that was interrupted, and for a connection to be closed."""

_LOOK_AGAIN: Final = 0.02
"""Seconds between two tries to get a lock."""

_BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_BROKEN: Final = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)


class Transaction:
    """What may be done between BEGIN and COMMIT, in the thread. Not to be kept after it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rows(self, sql: str, *values: SqlValue) -> list[sqlite3.Row]:
        """All rows of a query."""
        return self._connection.execute(sql, values).fetchall()

    def each(self, sql: str, *values: SqlValue) -> Iterator[sqlite3.Row]:
        """Yield the rows of a query one by one; none is read before it is asked for."""
        yield from self._connection.execute(sql, values)

    def row(self, sql: str, *values: SqlValue) -> sqlite3.Row | None:
        """The first row of a query, if it has one."""
        rows = self.rows(sql, *values)
        return rows[0] if rows else None

    def number(self, sql: str, *values: SqlValue) -> int:
        """The one integer that a query answers; 0 without a row."""
        row = self.row(sql, *values)
        return int(row[0]) if row is not None else 0

    def state(self) -> tuple[int, int]:
        """Return what changes with every commit to the database, by whichever connection."""
        return self.number("PRAGMA data_version"), self._connection.total_changes

    def change(self, sql: str, *values: SqlValue) -> int:
        """Run a statement; how many rows it changed."""
        return self._connection.execute(sql, values).rowcount

    def change_many(self, sql: str, values: Sequence[Sequence[SqlValue]]) -> None:
        """Run one statement for each of `values`."""
        self._connection.executemany(sql, values)


class Connection:
    """One connection, its thread, and how long it waits for locks."""

    def __init__(self, name: str, busy_timeout: float) -> None:
        self.thread = JobThread(name)
        self.file: OpenFile | None = None
        """What to compare with at each transaction."""
        self._busy_timeout = busy_timeout
        self._closing = threading.Event()
        self._over = False
        self.waits_for_lock: bool = False
        """Another process keeps it from writing."""
        self._connection: sqlite3.Connection | None = None

    def job(
        self, begin: str, work: Callable[[Transaction], T], *, patient: bool = True
    ) -> Callable[[], T]:
        """Return a job that runs `work` in a transaction.

        A lock is waited for, but not beyond the busy timeout, which begins now. patient: False: it
        is not waited for.
        """
        deadline = time.monotonic() + (self._busy_timeout if patient else 0.0)
        return partial(self._transact, begin, work, deadline)

    def pragma(self, statement: str) -> Callable[[], object]:
        """Return a job that sets up the connection outside a transaction."""
        return lambda: self._opened().execute(f"PRAGMA {statement}").fetchall()

    def open(self, uri: str) -> None:
        """Open it, in the thread."""
        # No implicit BEGIN: `_transact` says where a transaction begins, and of which kind. No
        # timeout: SQLite cannot be told to wait no longer.
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=0)
        self._connection = connection
        connection.row_factory = sqlite3.Row

    def close(self) -> None:
        """Close it, in the thread."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def wait_no_longer(self) -> None:
        """Have jobs try once to get a lock, from now on and in the middle of a wait."""
        self._closing.set()

    def interrupt(self) -> None:
        """End the statement that runs, and fail the jobs that wait."""
        self._over = True
        connection = self._connection
        if connection is not None:
            with suppress(sqlite3.Error):  # closed meanwhile
                connection.interrupt()

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None or self._over:
            raise StoreFailed("the database is closed")
        return self._connection

    def _transact(self, begin: str, work: Callable[[Transaction], T], deadline: float) -> T:
        while True:
            try:
                result = self._try(begin, work)
                self.waits_for_lock = False
                return result
            except sqlite3.OperationalError as error:
                if _kind(error) not in _BUSY or self._closing.is_set():
                    raise
                left = deadline - time.monotonic()
                if left <= 0:
                    raise
            self.waits_for_lock = True
            self._closing.wait(min(left, _LOOK_AGAIN))

    def _try(self, begin: str, work: Callable[[Transaction], T]) -> T:
        connection = self._opened()
        if self.file is not None:
            self.file.check()
        try:
            connection.execute(begin)
            result = work(Transaction(connection))
            connection.execute("COMMIT")
        except BaseException:
            # A full disk or an I/O error may have rolled back by itself, and what was never begun
            # needs none: then ROLLBACK says so, and this is all.
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
        if self.file is not None and begin != READ:
            self.file.check()  # what was written into a file without a name is lost
        return result


READ: Final = "BEGIN"
WRITE: Final = "BEGIN IMMEDIATE"
# IMMEDIATE: the lock is waited for there. A transaction that reads and then wants to write is
# refused at once when another process wrote in between.


class Database:
    """A database file, or one in memory, and the threads that work on it. Made with `connect`.

    A transaction ends whole: cancelling the caller of `read` or `write` does not cancel it. The
    caller then does not know how it ended, as with a lost answer, but it never does in part.
    """

    def __init__(self, label: str, uri: str, busy_timeout: float) -> None:
        self._label = label
        self._uri = uri
        self._busy_timeout = busy_timeout
        self._writer = Connection("conversations", busy_timeout)
        self._reader: Connection | None = None
        self._last_write: asyncio.Future[None] | None = None
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
        """Open a connection to a file that exists.

        `busy_timeout` is how many seconds a job waits for another process's lock, from when it was
        asked for.
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
        """Open a second connection, for all that is read from now on."""
        reader = self._reader = Connection("conversations, reading", self._busy_timeout)
        await self._run(reader, partial(reader.open, self._uri))
        await self._run(reader, reader.pragma("query_only = ON"))

    async def watch(self, path: Path) -> None:
        """Compare the file with what is there now, at each transaction from now on."""
        await self._run(self._writer, partial(self._watch, path))

    async def pragma(self, statement: str) -> None:
        """Set up the connection that writes; for what SQLite takes in no transaction."""
        await self._run(self._writer, self._writer.pragma(statement))

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run `work`, in the thread, on one unchanging state of the database. Raises StoreError.

        It finds what was written before, unless another process holds that up.
        """
        connection, write = self._reader or self._writer, self._last_write
        if write is not None and not write.done() and not self._writer.waits_for_lock:
            await asyncio.wait({write}, timeout=OWN_WRITES)
        return await self._run(connection, connection.job(READ, work), MAX_WAITING)

    async def write(
        self,
        work: Callable[[Transaction], T],
        *,
        at_most: int | None = None,
        patient: bool = True,
    ) -> T:
        """Run `work`, in the thread, as the only writer, all or nothing. Raises StoreError.

        at_most: jobs that may wait already; by default MAX_WAITING. patient: wait for a lock.
        """
        job = self._writer.job(WRITE, work, patient=patient)
        with _translated(self._label):
            write = self._submit(self._writer, job, at_most or MAX_WAITING)
            self._last_write = cast("asyncio.Future[None]", write)
            return await asyncio.shield(write)

    def hurry(self, seconds: float) -> None:
        """Have writes wait for a lock for at most so many seconds from now on, all in all."""
        asyncio.get_running_loop().call_later(seconds, self._writer.wait_no_longer)

    async def close(self, *, untouched: bool = False) -> None:
        """Close the connections and end the threads, within two seconds. Again: nothing.

        What runs or waits may finish first, but waits for no lock any more, and is interrupted
        after CLOSE_GRACE. A thread that does not even then end is left behind. untouched: leave the
        file as it is, and what belongs to it. A caller that is cancelled meanwhile is so only after
        that.
        """
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(untouched=untouched))
        try:
            await asyncio.shield(self._closing)
        except asyncio.CancelledError:
            while not self._closing.done():
                with suppress(asyncio.CancelledError):  # once more
                    await asyncio.wait({self._closing})
            raise

    async def _close(self, *, untouched: bool) -> None:
        # The writer last: the last one to close works the log into the file.
        connections = [found for found in (self._reader, self._writer) if found is not None]
        for connection in connections:
            connection.wait_no_longer()
        if await _until_idle(connections, CLOSE_GRACE):
            for connection in connections:
                connection.interrupt()
            if await _until_idle(connections, _LAST_GRACE):
                for connection in connections:  # in case that they come back
                    connection.thread.submit(connection.close)
                    connection.thread.end()
                return
        file = self._file
        if untouched and file is not None:
            with file.hidden():
                done = await _close_all(connections)
        else:
            done = await _close_all(connections)
        if done and file is not None:
            file.part_with_logs()
            file.close()

    async def _run(
        self, connection: Connection, job: Callable[[], T], at_most: int | None = None
    ) -> T:
        """One hop to the thread and back; nothing but an answer is lost by cancelling this."""
        with _translated(self._label):
            # Shielded: a job that waits for its turn in the thread would be dropped.
            return await asyncio.shield(self._submit(connection, job, at_most))

    def _submit(
        self, connection: Connection, job: Callable[[], T], at_most: int | None
    ) -> "asyncio.Future[T]":
        """Hand a job to the thread. Raises StoreFailed if the database is closed, or too busy."""
        if self._closing is not None:
            raise StoreFailed(f"{self._label} is closed")
        return asyncio.wrap_future(connection.thread.submit(job, at_most))

    def _watch(self, path: Path) -> None:
        try:
            file = self._file = OpenFile(path)
        except OSError as error:  # it has gone since it was opened
            raise StoreLost(f"{path} cannot be reached any more: {error.strerror}") from error
        self._writer.file = file
        if self._reader is not None:
            self._reader.file = file


async def _until_idle(connections: Sequence[Connection], timeout: float) -> bool:
    """Wait until all jobs are done; True if some are not, after `timeout` seconds."""
    ends = [asyncio.wrap_future(each.thread.submit(lambda: None)) for each in connections]
    _, late = await asyncio.wait(ends, timeout=timeout)
    return bool(late)


async def _close_all(connections: Sequence[Connection]) -> bool:
    """Close the connections, one after the other, and end their threads; True if all did."""
    for connection in connections:
        closed = asyncio.wrap_future(connection.thread.submit(connection.close))
        connection.thread.end()
        done, _ = await asyncio.wait({closed}, timeout=_LAST_GRACE)
        if not done:
            return False
        with suppress(sqlite3.Error):
            closed.result()
        connection.thread.join(_LAST_GRACE)  # it has nothing left to do but to return
    return True


@contextmanager
def _translated(label: str) -> Iterator[None]:
    """Raise what SQLite raises as a StoreError."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translation(label, error) from error


def _kind(error: sqlite3.Error) -> int:
    # The low byte is the kind of error, the rest its detail (https://sqlite.org/rescode.html).
    # Errors that Python itself raises have none.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _translation(label: str, error: sqlite3.Error) -> StoreError:
    kind = _kind(error)
    if kind in _BUSY:
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
