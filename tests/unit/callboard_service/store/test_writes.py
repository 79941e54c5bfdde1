"""Writes that wait at the same time share a transaction, and fail by themselves."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from callboard_service.store import writes
from callboard_service.store.connection import Connection
from callboard_service.store.errors import StoreCrowded, UnknownConversation
from callboard_service.store.store import ConversationStore, StoreBroken
from callboard_service.store.transaction import SqlValue, Transaction
from callboard_service.store.writes import Write, WriteQueue
from tests.support.garbage import garbage
from tests.support.store_kit import Stores, other, texts, user


class Thread:
    """Stands for the thread of a connection: it carries out what it was given when told to."""

    def __init__(self) -> None:
        self.given: list[list[Write[object]]] = []
        self._futures: list[asyncio.Future[None]] = []

    def submit(self, given: Sequence[Write[object]]) -> asyncio.Future[None]:
        self.given.append(list(given))
        self._futures.append(asyncio.get_running_loop().create_future())
        return self._futures[-1]

    async def work(self) -> None:
        self._futures.pop(0).set_result(None)
        await asyncio.sleep(0)  # the callback of the future


def write(*, joins: bool = True) -> Write[object]:
    return Write(lambda _: None, 0.0, joins=joins)


async def test_what_gathers_while_the_thread_is_busy_goes_to_it_together() -> None:
    thread = Thread()
    queue = WriteQueue(thread.submit)
    added = [write(joins=joins) for joins in (True, True, True, False, True, True)]
    for each in added:
        queue.add(each, 100)
    for _ in range(4):
        await thread.work()
    first, *others = added
    assert thread.given == [[first], others[:2], others[2:3], others[3:]]


async def test_a_transaction_is_shared_by_a_limited_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writes, "AT_ONCE", 2)
    thread = Thread()
    queue = WriteQueue(thread.submit)
    for _ in range(6):
        queue.add(write(), 100)
    for _ in range(3):
        await thread.work()
    assert [len(given) for given in thread.given] == [1, 2, 2, 1]


async def test_only_those_that_wait_count_as_waiting() -> None:
    queue = WriteQueue(Thread().submit)
    for _ in range(3):
        queue.add(write(), 2)
    with pytest.raises(StoreCrowded):
        queue.add(write(), 2)


async def test_a_flush_leaves_nothing_waiting() -> None:
    thread = Thread()
    queue = WriteQueue(thread.submit)
    for joins in (True, True, False, True):
        queue.add(write(joins=joins), 100)
    queue.flush()
    assert [len(given) for given in thread.given] == [1, 1, 1, 1]


@pytest.fixture
async def statements(store: ConversationStore) -> list[str]:
    """Return a list to which each statement of the writing connection is added."""
    said: list[str] = []
    writer = store._database._writer
    await writer.thread.submit(lambda: writer._opened().set_trace_callback(said.append))
    return said


async def blocked(stores: Stores, *calls: "asyncio.Task[object]") -> None:
    """Let all calls begin while another process holds the lock, so that all but one wait."""
    with other(stores.path) as raw:
        raw.execute("BEGIN IMMEDIATE")
        await asyncio.sleep(0)
        assert not any(call.done() for call in calls)
        raw.execute("ROLLBACK")


async def test_appends_that_wait_share_a_transaction(
    stores: Stores, store: ConversationStore, statements: list[str]
) -> None:
    await store.create("")
    calls = [asyncio.ensure_future(store.append("c1", user(f"{n}"))) for n in range(10)]
    statements.clear()
    await blocked(stores, *calls)
    await asyncio.gather(*calls)
    assert await texts(store, "c1") == [f"{n}" for n in range(10)]
    assert statements.count("COMMIT") == 2


async def test_one_that_fails_leaves_those_that_it_waited_with_whole(
    stores: Stores, store: ConversationStore
) -> None:
    await store.create("")
    names = ["c1", "c1", "no", "c1"]
    calls = [
        asyncio.ensure_future(store.append(name, user(f"{n}"))) for n, name in enumerate(names)
    ]
    await blocked(stores, *calls)
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [list, list, UnknownConversation, list]
    assert await texts(store, "c1") == ["0", "1", "3"]


async def test_all_fail_with_their_transaction_and_are_not_tried_again(
    stores: Stores, store: ConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A COMMIT that fails may have taken effect all the same."""
    await store.create("")
    tried = 0
    original = Transaction.change_many

    def count(transaction: Transaction, sql: str, values: Sequence[Sequence[SqlValue]]) -> None:
        nonlocal tried
        tried += 1
        original(transaction, sql, values)

    class Failing:
        """The connection, of which the second COMMIT fails."""

        def __init__(self, connection: sqlite3.Connection) -> None:
            self._connection = connection
            self._commits = 0

        def execute(self, sql: str, *values: Sequence[SqlValue]) -> sqlite3.Cursor:
            if sql == "COMMIT":
                self._commits += 1
                if self._commits == 2:
                    error = sqlite3.OperationalError("disk I/O error")
                    error.sqlite_errorcode = sqlite3.SQLITE_IOERR
                    raise error
            return self._connection.execute(sql, *values)

        def __getattr__(self, name: str) -> object:
            return getattr(self._connection, name)

    writer = store._database._writer
    connection = writer._connection
    assert connection is not None
    monkeypatch.setattr(Transaction, "change_many", count)
    calls = [asyncio.ensure_future(store.append("c1", user(f"{n}"))) for n in range(4)]
    monkeypatch.setattr(writer, "_connection", Failing(connection))
    await blocked(stores, *calls)
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [list, *[StoreBroken] * 3]
    assert tried == 4
    assert await texts(store, "c1") == ["0"]


@pytest.fixture
async def writing(tmp_path: Path) -> AsyncIterator[Connection]:
    """A connection to a file without WAL, with a table `t`."""
    connection = Connection("writing", 60.0)
    await connection.thread.submit(lambda: connection.open(str(tmp_path / "without_wal.db")))
    await carry_out(connection, lambda transaction: transaction.change("CREATE TABLE t (n)"))
    yield connection
    await connection.thread.submit(connection.close)
    connection.thread.end()


def carry_out(
    connection: Connection, *works: Callable[[Transaction], object]
) -> asyncio.Future[None]:
    """Have the connection's thread carry out writes that may share a transaction."""
    given = [Write(work, connection.deadline(), joins=True) for work in works]
    return connection.thread.submit(lambda: connection.write_all(given))


def insert(number: int, transaction: Transaction) -> object:
    return transaction.change("INSERT INTO t VALUES (?)", number)


INSERTS = [partial(insert, number) for number in range(3)]


async def test_a_lock_in_the_way_of_a_commit_is_waited_for(
    writing: Connection, tmp_path: Path
) -> None:
    """Without WAL, a reader keeps a transaction from its end, and not from its beginning."""
    with other(tmp_path / "without_wal.db") as raw:
        raw.execute("BEGIN")
        raw.execute("SELECT * FROM t").fetchall()
        done = carry_out(writing, *INSERTS)
        async with asyncio.timeout(20.0):
            await until(lambda: writing.waits_for_lock)
        raw.execute("ROLLBACK")
        await done
        assert [row[0] for row in raw.execute("SELECT n FROM t")] == [0, 1, 2]


async def until(condition: Callable[[], bool]) -> None:
    while True:
        if condition():
            return
        await asyncio.sleep(0.001)


async def test_after_a_shared_transaction_the_thread_waits_for_no_lock(writing: Connection) -> None:
    writing.waits_for_lock = True  # a write before them gave up
    await carry_out(writing, *INSERTS)
    assert not writing.waits_for_lock


async def test_writes_that_wait_are_carried_out_before_the_database_is_closed(
    stores: Stores, store: ConversationStore
) -> None:
    await store.create("")
    calls = [asyncio.ensure_future(store.append("c1", user(f"{n}"))) for n in range(10)]
    await blocked(stores, *calls)
    await store.close()
    await asyncio.gather(*calls)
    assert await texts(await stores.open(), "c1") == [f"{n}" for n in range(10)]


async def test_a_write_that_fails_leaves_no_reference_cycle(store: ConversationStore) -> None:
    with garbage() as left:
        for _ in range(2):  # the thread keeps the last one
            with suppress(UnknownConversation):
                await store.append("no", user("?"))
    assert not left
