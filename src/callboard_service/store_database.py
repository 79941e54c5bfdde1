"""The SQLite file under the conversation store: its connection, its transactions, its errors.

    StoreError                  one line for a person each
    ├── UnknownConversation     .conversation_id
    ├── UnknownEntry            .entry_id
    ├── StoreBusy               another process holds the lock; the same call may succeed later
    ├── StoreFull               the disk is full
    ├── StoreFailed             any other fault of the file, or a closed store
    │   └── StoreDamaged        the file is no database, or not a whole one
    └── StoreRefused            it cannot be opened; the file is as it was

One connection has one thread and one transaction at a time. Whatever fails leaves what was there
before.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, Self, TypeAlias, TypeVar

import aiosqlite

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
    """What may be done between BEGIN and COMMIT. Not to be kept after it."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def rows(self, sql: str, *values: SqlValue) -> list[sqlite3.Row]:
        """All rows of a query."""
        return list(await self._connection.execute_fetchall(sql, values))

    async def row(self, sql: str, *values: SqlValue) -> sqlite3.Row | None:
        """The first row of a query, if it has one."""
        rows = await self.rows(sql, *values)
        return rows[0] if rows else None

    async def number(self, sql: str, *values: SqlValue) -> int:
        """The one integer that a query answers; 0 without a row."""
        row = await self.row(sql, *values)
        return int(row[0]) if row is not None else 0

    async def change(self, sql: str, *values: SqlValue) -> int:
        """Run a statement; how many rows it changed."""
        return (await self._connection.execute(sql, values)).rowcount

    async def change_many(self, sql: str, values: Sequence[Sequence[SqlValue]]) -> None:
        """Run one statement for each of `values`."""
        await self._connection.executemany(sql, values)


class Database:
    """One connection to a database file, or to one in memory. Made with `connect`.

    A transaction ends whole: cancelling the caller of `read` or `write` does not cancel it. The
    caller then does not know how it ended, as with a lost answer, but it never does in part.
    """

    def __init__(
        self, label: str, connection: aiosqlite.Connection, thread: threading.Thread
    ) -> None:
        self._label = label
        self._connection = connection
        self._thread = thread
        # Two transactions cannot share a connection.
        self._turn = asyncio.Lock()
        self._running: set[asyncio.Task[object]] = set()
        self._closed = False

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
        threads: list[threading.Thread] = []

        def make(*args: object, **options: object) -> sqlite3.Connection:
            # aiosqlite keeps its thread to itself; this runs on it.
            threads.append(threading.current_thread())
            connection = sqlite3.Connection(*args, **options)  # type: ignore[arg-type]  # as given
            connection.row_factory = sqlite3.Row
            return connection

        if isinstance(location, Path):
            uri, label = f"{location.absolute().as_uri()}?mode={mode}", str(location)
        else:
            uri, label = location, "the database in memory"
        # No implicit BEGIN: `_transact` says where a transaction begins, and of which kind.
        connecting = asyncio.ensure_future(
            aiosqlite.connect(
                uri, uri=True, isolation_level=None, timeout=busy_timeout, factory=make
            )
        )
        try:
            with _translated(label):
                connection = await _to_its_end(connecting)
        except BaseException:
            if not connecting.cancelled() and connecting.exception() is None:
                await cls(label, connecting.result(), threads[0]).close()
            for thread in threads:
                thread.join()
            raise
        return cls(label, connection, threads[0])

    async def pragma(self, statement: str) -> None:
        """Set up the connection; for what SQLite does not take inside a transaction."""
        with _translated(self._label):
            await self._connection.execute_fetchall(f"PRAGMA {statement}")

    async def read(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run `work` on one unchanging state of the database. Raises StoreError."""
        return await self._whole("BEGIN", work)

    async def write(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run `work` as the only writer, all of it or nothing. Raises StoreError."""
        # IMMEDIATE: the lock is waited for here. A transaction that reads and then wants to write
        # is refused at once when another process wrote in between.
        return await self._whole("BEGIN IMMEDIATE", work)

    async def close(self) -> None:
        """Let what runs finish, then close. Afterwards the thread has ended. Again: nothing.

        A caller that is cancelled meanwhile is so only after that.
        """
        await _to_its_end(asyncio.ensure_future(self._close()))

    async def _whole(self, begin: str, work: Callable[[Transaction], Awaitable[T]]) -> T:
        task = asyncio.ensure_future(self._transact(begin, work))
        self._running.add(task)  # the event loop alone does not keep a task alive
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _transact(self, begin: str, work: Callable[[Transaction], Awaitable[T]]) -> T:
        async with self._turn:
            if self._closed:
                raise StoreFailed(f"{self._label} is closed")
            with _translated(self._label):
                try:
                    await self._connection.execute(begin)
                    result = await work(Transaction(self._connection))
                    await self._connection.execute("COMMIT")
                except BaseException:
                    # A full disk or an I/O error may have rolled back by itself, and what was
                    # never begun needs none: then ROLLBACK says so, and this is all.
                    with suppress(sqlite3.Error):
                        await self._connection.execute("ROLLBACK")
                    raise
                return result

    async def _close(self) -> None:
        async with self._turn:
            if self._closed:
                return
            self._closed = True
            try:
                with _translated(self._label):
                    await self._connection.close()
            finally:
                # It has nothing left to do but to return, so this does not hold the loop.
                self._thread.join()


async def _to_its_end(task: asyncio.Future[T]) -> T:
    """What the task gives. Cancelling this takes effect when the task has ended."""
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):  # once more
                await asyncio.wait({task})
        raise


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
