"""Runs transactions on the SQLite file under the conversation store.

Each connection has its own thread, and a transaction is one job of that thread. A file has two
connections, so reads wait neither for writes nor for the locks that delay writes. A transaction
that fails changes nothing.
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
from callboard_service.store.transaction import Transaction

T = TypeVar("T")
Location: TypeAlias = Path | Literal[":memory:"]

MAX_WAITING: Final = 1_000
"""Jobs that may wait for a thread."""

MAX_WAITING_ENTRIES: Final = 10_000
"""The same for jobs that append history entries; higher, since a refused entry would be lost."""

CLOSE_GRACE: Final = 1.0
"""Seconds that jobs have to finish when the database is closed."""

OWN_WRITES: Final = 0.1
"""Seconds that a read waits for the writes submitted before it."""

_LAST_GRACE: Final = 0.3
"""Seconds for an interrupted statement to end, and for each connection to close."""

_LOOK_AGAIN: Final = 0.02
"""Seconds between two attempts to get a lock."""

_BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_BROKEN: Final = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)


class Connection:
    """One connection with its thread. busy_timeout: seconds that a job waits for a lock."""

    def __init__(self, name: str, busy_timeout: float) -> None:
        self.thread = JobThread(name)
        self.file: OpenFile | None = None
        """The file to check at each transaction; None: no check."""
        self._busy_timeout = busy_timeout
        self._closing = threading.Event()
        self._over = False
        self.waits_for_lock: bool = False
        """Whether a job is waiting for another process's lock."""
        self._connection: sqlite3.Connection | None = None

    def job(
        self, begin: str, work: Callable[[Transaction], T], *, patient: bool = True
    ) -> Callable[[], T]:
        """Return a job that runs `work` in a transaction.

        The job waits for a lock until the busy timeout, which starts now, has passed. patient:
        False: it tries once and does not wait.
        """
        deadline = time.monotonic() + (self._busy_timeout if patient else 0.0)
        return partial(self._transact, begin, work, deadline)

    def pragma(self, statement: str) -> Callable[[], object]:
        """Return a job that executes a PRAGMA outside a transaction."""
        return lambda: self._opened().execute(f"PRAGMA {statement}").fetchall()

    def open(self, uri: str) -> None:
        """Open the connection. Runs in the thread."""
        # No implicit BEGIN: `_transact` decides where a transaction begins, and of which kind. No
        # timeout: SQLite's own wait for a lock cannot be ended early.
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=0)
        self._connection = connection
        connection.row_factory = sqlite3.Row
        # SQLite's own lower() and LIKE know ASCII only.
        connection.create_function("casefold", 1, str.casefold, deterministic=True)

    def close(self) -> None:
        """Close the connection. Runs in the thread."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def wait_no_longer(self) -> None:
        """Stop waiting for locks: from now on each job tries once, and current waits end."""
        self._closing.set()

    def interrupt(self) -> None:
        """Interrupt the running statement and fail the waiting jobs."""
        self._over = True
        connection = self._connection
        if connection is not None:
            with suppress(sqlite3.Error):  # closed in the meantime
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
            # ROLLBACK fails if a full disk or an I/O error has already rolled back, or if BEGIN
            # failed; both are fine.
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
        if self.file is not None and begin != READ:
            self.file.check()  # a write into a file without a name is lost
        return result


READ: Final = "BEGIN"
WRITE: Final = "BEGIN IMMEDIATE"
# IMMEDIATE takes the lock at BEGIN, where `_transact` waits for it. A transaction that reads first
# and writes later fails at once if another process has written in between.


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
        """Run `work` in the thread as the only writer, all or nothing. Raises StoreError.

        at_most: jobs that may be waiting already; by default MAX_WAITING. patient: wait for a lock.
        """
        job = self._writer.job(WRITE, work, patient=patient)
        with _translated(self._label):
            write = self._submit(self._writer, job, at_most or MAX_WAITING)
            self._last_write = cast("asyncio.Future[None]", write)
            return await asyncio.shield(write)

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
                done = await _close_all(connections)
        else:
            done = await _close_all(connections)
        if done and file is not None:
            file.part_with_logs()
            file.close()

    async def _run(
        self, connection: Connection, job: Callable[[], T], at_most: int | None = None
    ) -> T:
        """Run a job in the connection's thread and return its result. Raises StoreError.

        Cancelling the caller does not cancel the job; only the result is lost.
        """
        with _translated(self._label):
            # Shielded: otherwise a job that still waits for the thread would be dropped.
            return await asyncio.shield(self._submit(connection, job, at_most))

    def _submit(
        self, connection: Connection, job: Callable[[], T], at_most: int | None
    ) -> "asyncio.Future[T]":
        """Hand a job to the thread.

        Raises StoreFailed if the database is closed, StoreCrowded if `at_most` jobs are waiting.
        """
        if self._closing is not None:
            raise StoreFailed(f"{self._label} is closed")
        return connection.thread.submit(job, at_most)

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


async def _close_all(connections: Sequence[Connection]) -> bool:
    """Close the connections one by one and end their threads; return True if all have closed."""
    for connection in connections:
        closed = connection.thread.submit(connection.close)
        connection.thread.end()
        done, _ = await asyncio.wait({closed}, timeout=_LAST_GRACE)
        if not done:
            return False
        with suppress(sqlite3.Error):
            closed.result()
        connection.thread.join(_LAST_GRACE)  # its last job is done
    return True


@contextmanager
def _translated(label: str) -> Iterator[None]:
    """Translate SQLite errors raised in the block to StoreError."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translation(label, error) from error


def _kind(error: sqlite3.Error) -> int:
    # The low byte is the primary result code, the rest its detail
    # (https://sqlite.org/rescode.html). Errors raised by the Python module itself have no code.
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
