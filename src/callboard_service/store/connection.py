"""One connection to an SQLite database, with the thread in which its transactions run."""

import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from callboard_service.store.errors import StoreFailed
from callboard_service.store.thread import JobThread
from callboard_service.store.transaction import Transaction
from callboard_service.store.writes import Write

if TYPE_CHECKING:
    from callboard_service.store.file import OpenFile

T = TypeVar("T")

READ: Final = "BEGIN"
WRITE: Final = "BEGIN IMMEDIATE"
# IMMEDIATE takes the lock at BEGIN, where `_transact` waits for it. A transaction that reads first
# and writes later fails at once if another process has written in between.

BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
"""The kinds of errors that a lock of another process causes."""

_LOOK_AGAIN: Final = 0.02
"""Seconds between two attempts to get a lock."""


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

    def deadline(self, *, patient: bool = True) -> float:
        """Return until when a job that is submitted now waits for a lock.

        patient: False: it tries once and does not wait.
        """
        return time.monotonic() + (self._busy_timeout if patient else 0.0)

    def reading(self, work: Callable[[Transaction], T]) -> Callable[[], T]:
        """Return a job that runs `work` in a transaction that only reads."""
        return partial(self._transact, READ, work, self.deadline())

    def write_all(self, writes: Sequence[Write[object]]) -> None:
        """Carry out writes, several in one transaction. Runs in the thread, and raises nothing.

        If one of several fails, or a lock is in the way, the transaction is undone, and each write
        has one of its own, which waits for the lock.
        """
        if len(writes) > 1 and self._write_together(writes):
            return
        for write in writes:
            try:
                self._transact(WRITE, write.run, write.deadline)
            except BaseException as error:  # noqa: BLE001 - any exception belongs to its caller
                write.fail(error)

    def _write_together(self, writes: Sequence[Write[object]]) -> bool:
        """Carry out writes in one transaction; return False if that was undone."""
        ran = False

        def run(transaction: Transaction) -> None:
            nonlocal ran
            for write in writes:
                write.run(transaction)
            ran = True

        try:
            self._try(WRITE, run)
        except BaseException as error:  # noqa: BLE001 - likewise
            if not ran or (isinstance(error, sqlite3.Error) and kind_of(error) in BUSY):
                return False
            for write in writes:  # it may have been committed all the same
                write.fail(error)
        return True

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
                return self._try(begin, work)
            except sqlite3.OperationalError as error:
                if kind_of(error) not in BUSY or self._closing.is_set():
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
        self.waits_for_lock = False
        return result


def kind_of(error: sqlite3.Error) -> int:
    """Return the primary result code of an error; 0: it has none."""
    # The low byte is the primary result code, the rest its detail
    # (https://sqlite.org/rescode.html). Errors raised by the Python module itself have no code.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
