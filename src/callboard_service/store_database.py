"""The SQLite file under the conversation store: its connection, its transactions, its errors.

    StoreError                  one line for a person each
    ├── UnknownConversation     .conversation_id
    ├── UnknownEntry            .entry_id
    ├── StoreBusy               another process holds the lock; the same call may succeed later
    ├── StoreFull               the disk is full
    ├── StoreFailed             any other fault of the file, or a closed store
    │   └── StoreDamaged        the file is no database, or not a whole one
    └── StoreRefused            it cannot be opened; the file is as it was

One connection has one thread, and a transaction is one job of it. Whatever fails leaves what was
there before.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Literal, Self, TypeAlias, TypeVar

T = TypeVar("T")
Location: TypeAlias = Path | Literal[":memory:"]
SqlValue: TypeAlias = str | int | None

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class StoreError(Exception):
    """A conversation could not be read or written. Its text is one line for a person."""


class UnknownConversation(StoreError, LookupError):
    """There is no such conversation, or no longer."""

    def __init__(self, conversation_id: str) -> None:
        super().__init__(f"there is no conversation {conversation_id!r}")
        self.conversation_id = conversation_id


class UnknownEntry(StoreError, LookupError):
    """The conversation has no such entry."""

    def __init__(self, entry_id: str) -> None:
        super().__init__(f"the conversation has no entry {entry_id!r}")
        self.entry_id = entry_id


class StoreBusy(StoreError):
    """Another process held the lock for longer than the busy timeout."""


class StoreFull(StoreError):
    """There is no room left for what was to be written."""


class StoreFailed(StoreError):
    """Reading or writing failed for another reason, or the store is closed."""


class StoreDamaged(StoreFailed):
    """The file is no database, or not a whole one."""


class StoreRefused(StoreError):
    """The database cannot be used. It is as it was."""


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


class Database:
    """One connection to a database file, or to one in memory, and its thread. Made with `connect`.

    A transaction ends whole: cancelling the caller of `read` or `write` does not cancel it. The
    caller then does not know how it ended, as with a lost answer, but it never does in part.
    """

    def __init__(self, label: str) -> None:
        self._label = label
        # One thread, so one job after the other, in the order in which they were asked for.
        self._thread = ThreadPoolExecutor(1, "conversations")
        self._to_close = ExitStack()
        self._connection: sqlite3.Connection  # the thread's alone
        self._closing: asyncio.Future[None] | None = None

    @classmethod
    async def connect(
        cls,
        location: Location,
        *,
        busy_timeout: float,
        mode: Literal["ro", "rw"] = "rw",
    ) -> Self:
        """Open a connection to a file that exists.

        `busy_timeout` is how many seconds it waits for another's lock, each time.
        """
        if isinstance(location, Path):
            uri, label = f"{location.absolute().as_uri()}?mode={mode}", str(location)
        else:
            uri, label = location, "the database in memory"
        database = cls(label)
        try:
            await database._run(partial(database._open, uri, busy_timeout))
        except BaseException:
            await database.close()
            raise
        return database

    async def pragma(self, statement: str) -> None:
        """Set up the connection; for what SQLite does not take inside a transaction."""
        await self._run(lambda: self._connection.execute(f"PRAGMA {statement}").fetchall())

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run `work`, in the thread, on one unchanging state of the database. Raises StoreError."""
        return await self._run(partial(self._transact, "BEGIN", work))

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Run `work`, in the thread, as the only writer, all or nothing. Raises StoreError."""
        # IMMEDIATE: the lock is waited for here. A transaction that reads and then wants to write
        # is refused at once when another process wrote in between.
        return await self._run(partial(self._transact, "BEGIN IMMEDIATE", work))

    async def close(self) -> None:
        """Let what runs finish, then close. Afterwards the thread has ended. Again: nothing.

        A caller that is cancelled meanwhile is so only after that.
        """
        if self._closing is None:
            self._closing = asyncio.wrap_future(self._thread.submit(self._to_close.close))
        try:
            await asyncio.shield(self._closing)
        except asyncio.CancelledError:
            while not self._closing.done():
                with suppress(asyncio.CancelledError):  # once more
                    await asyncio.wait({self._closing})
            raise
        finally:
            # The thread has nothing left to do but to return, so this does not hold the loop.
            self._thread.shutdown()

    async def _run(self, job: Callable[[], T]) -> T:
        """One hop to the thread and back; nothing but an answer is lost by cancelling this."""
        if self._closing is not None:
            raise StoreFailed(f"{self._label} is closed")
        with _translated(self._label):
            # Shielded: a job that waits for its turn in the thread would be dropped.
            return await asyncio.shield(asyncio.wrap_future(self._thread.submit(job)))

    def _open(self, uri: str, busy_timeout: float) -> None:
        # No implicit BEGIN: `_transact` says where a transaction begins, and of which kind.
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=busy_timeout)
        self._to_close.callback(connection.close)
        connection.row_factory = sqlite3.Row
        self._connection = connection

    def _transact(self, begin: str, work: Callable[[Transaction], T]) -> T:
        try:
            self._connection.execute(begin)
            result = work(Transaction(self._connection))
            self._connection.execute("COMMIT")
        except BaseException:
            # A full disk or an I/O error may have rolled back by itself, and what was never begun
            # needs none: then ROLLBACK says so, and this is all.
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise
        return result


@contextmanager
def _translated(label: str) -> Iterator[None]:
    """What SQLite raises, as a StoreError."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translation(label, error) from error


def _translation(label: str, error: sqlite3.Error) -> StoreError:
    # The low byte is the kind of error, the rest its detail (https://sqlite.org/rescode.html).
    # Errors that Python itself raises have none.
    kind = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if kind in _BUSY:
        return StoreBusy(f"{label} is locked by another process")
    if kind == sqlite3.SQLITE_FULL:
        return StoreFull(f"{label} cannot grow: the disk is full")
    if kind in _DAMAGED:
        return StoreDamaged(f"{label} is damaged: {error}")
    if kind == sqlite3.SQLITE_READONLY:
        return StoreFailed(f"{label} cannot be written: {error}")
    return StoreFailed(f"{label}: {error}")
