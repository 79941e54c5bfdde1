"""The conversation store serves concurrent and cancelled callers, and closes in bounded time."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from callboard_service.store.store import (
    ConversationStore,
    StoreBusy,
    StoreCrowded,
    StoreFailed,
)
from callboard_service.store.thread import JobThread
from tests.support.store_kit import (
    Stores,
    assistant,
    listed,
    other,
    store_threads,
    texts,
    user,
)


async def test_many_callers_at_once_lose_nothing(store: ConversationStore) -> None:
    await store.create("")
    await asyncio.gather(*(store.append("c1", user(f"{n}"), user(f"{n}")) for n in range(40)))
    said = await texts(store, "c1")
    assert said[::2] == said[1::2], "two appends were mixed"
    assert sorted(said[::2], key=int) == [str(n) for n in range(40)]


async def test_a_cancelled_caller_leaves_a_whole_append_and_a_usable_store(
    stores: Stores, store: ConversationStore
) -> None:
    await store.create("")
    with other(stores.path) as raw:
        raw.execute("BEGIN IMMEDIATE")
        append = asyncio.create_task(store.append("c1", user("one"), user("two")))
        await asyncio.sleep(0)  # it waits for the lock now, or is about to
        append.cancel()
        with pytest.raises(asyncio.CancelledError):
            await append
        raw.execute("ROLLBACK")
    await store.append("c1", user("three"))  # runs after the cancelled append
    assert await texts(store, "c1") == ["one", "two", "three"]


async def test_cancelled_callers_that_wait_their_turn_are_served_whole(
    stores: Stores, store: ConversationStore
) -> None:
    await store.create("")
    with other(stores.path) as raw:
        raw.execute("BEGIN IMMEDIATE")
        appends = [asyncio.create_task(store.append("c1", user(f"{n}"))) for n in range(5)]
        await asyncio.sleep(0)  # the first waits for the lock, and the others for the first
        for append in appends:
            append.cancel()
        await asyncio.wait(appends)
        raw.execute("ROLLBACK")
    assert all(append.cancelled() for append in appends)
    await store.append("c1", user("5"))  # runs after the cancelled ones
    assert await texts(store, "c1") == ["0", "1", "2", "3", "4", "5"]


async def test_a_write_that_waits_for_a_lock_does_not_block_the_event_loop(
    stores: Stores, store: ConversationStore
) -> None:
    await store.create("")
    with other(stores.path) as raw:
        raw.execute("BEGIN IMMEDIATE")
        append = asyncio.create_task(store.append("c1", user("patient")))
        for _ in range(100):
            await asyncio.sleep(0)
        raw.execute("ROLLBACK")  # never reached if the append blocks the event loop
    await append
    assert await texts(store, "c1") == ["patient"]


async def test_a_call_is_one_job_of_a_thread(
    store: ConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = 0
    submit = JobThread.submit

    def count(
        thread: JobThread, job: Callable[[], object], at_most: int | None = None
    ) -> "asyncio.Future[object]":
        nonlocal jobs
        jobs += 1
        return submit(thread, job, at_most)

    monkeypatch.setattr(JobThread, "submit", count)
    await store.create("")
    await store.append("c1", user("one"), assistant("two"), user("three"))
    for call in (store.get("c1"), store.turns("c1"), store.history("c1", before="2")):
        await call
    await listed(store)
    await store.delete("c1")
    assert jobs == 7


async def test_closing_lets_running_calls_finish_and_ends_the_threads(stores: Stores) -> None:
    alone = store_threads()
    store = await stores.open()
    await store.create("")
    assert store_threads() == alone + 2
    append = asyncio.create_task(store.append("c1", user("last")))
    await asyncio.sleep(0)
    await asyncio.gather(store.close(), store.close())
    assert store_threads() == alone
    assert (await append)[0].user_text == "last"
    await store.close()
    with pytest.raises(StoreFailed, match=r"is closed$"):
        await listed(store)
    assert await texts(await stores.open(), "c1") == ["last"]
    assert not stores.reports


async def test_closing_is_cancelled_when_it_is_done(stores: Stores) -> None:
    alone = store_threads()
    store = await stores.open()
    await store.create("")
    release = _block(store)
    append = asyncio.create_task(store.append("c1", user("last")))
    await asyncio.sleep(0)
    closing = asyncio.create_task(store.close())
    for _ in range(3):
        await asyncio.sleep(0)
        closing.cancel()
    await asyncio.sleep(0)
    assert not closing.done()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert store_threads() == alone
    await append
    assert await texts(await stores.open(), "c1") == ["last"]


def _block(store: ConversationStore) -> threading.Event:
    """Keep the writing thread busy until the event is set."""
    release = threading.Event()
    _ = store._database._writer.thread.submit(release.wait)
    return release


async def test_a_store_in_a_hurry_waits_for_a_lock_for_a_moment_only(stores: Stores) -> None:
    store = await stores.open(busy_timeout=60.0)
    with other(stores.path) as raw:
        raw.execute("BEGIN IMMEDIATE")
        writing = asyncio.ensure_future(store.create("title"))
        store.hurry(0.05)
        async with asyncio.timeout(20.0):
            with pytest.raises(StoreBusy):
                await writing
            with pytest.raises(StoreBusy):
                await store.create("another")
    assert await store.create("free again")


async def test_closing_ends_a_wait_for_a_lock_at_once(stores: Stores) -> None:
    store = await stores.open(busy_timeout=60.0)
    await store.create("")
    with other(stores.path) as raw:
        raw.execute("BEGIN IMMEDIATE")
        appends = [asyncio.create_task(store.append("c1", user(f"{n}"))) for n in range(40)]
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            await store.close()
        results = await asyncio.gather(*appends, return_exceptions=True)
        assert all(isinstance(result, StoreBusy) for result in results)


async def test_closing_interrupts_a_statement_that_runs_on(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callboard_service.store.database.CLOSE_GRACE", 0.01)
    monkeypatch.setattr("callboard_service.store.database._LAST_GRACE", 10.0)
    store = await stores.open()
    endless = (
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT sum(i) FROM n"
    )
    reading = [
        asyncio.create_task(store._database.read(lambda transaction: transaction.number(endless)))
        for _ in range(3)
    ]
    await asyncio.sleep(0)
    await store.close()
    results = await asyncio.gather(*reading, return_exceptions=True)
    assert [type(result) for result in results] == [StoreFailed] * 3


async def test_a_slow_disk_has_all_of_the_time_for_closing(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callboard_service.store.database._LAST_GRACE", 0.0)
    alone = store_threads()
    store = await stores.open()
    await store.create("")
    await store.close()
    assert store_threads() == alone


async def test_a_thread_that_hangs_does_not_hold_up_the_end(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callboard_service.store.database.CLOSE_GRACE", 0.01)
    monkeypatch.setattr("callboard_service.store.database._LAST_GRACE", 0.01)
    store = await stores.open()
    release = _block(store)
    async with asyncio.timeout(10):
        await store.close()
    release.set()
    for connection in (store._database._writer, store._database._reader):
        assert connection is not None
        connection.thread.join(10)


async def test_a_flood_of_calls_is_refused_beyond_a_bound_but_not_what_was_said(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await stores.open()
    await store.create("")
    monkeypatch.setattr("callboard_service.store.database.MAX_WAITING", 5)
    release = _block(store)
    creates = [asyncio.create_task(store.create("")) for _ in range(20)]
    appends = [asyncio.create_task(store.append("c1", user(f"{n}"))) for n in range(20)]
    await asyncio.sleep(0)
    release.set()
    made = await asyncio.gather(*creates, return_exceptions=True)
    assert sum(isinstance(result, StoreCrowded) for result in made) >= 14
    await asyncio.gather(*appends)
    assert await texts(store, "c1") == [f"{n}" for n in range(20)]


async def test_nothing_of_the_log_is_left_after_closing(stores: Stores) -> None:
    await stores.make("hello")
    assert stores.names() == ["conversations.db"]


async def test_a_store_in_memory_does_all_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    alone = store_threads()
    store = await ConversationStore.open(":memory:", report=print)
    info = await store.create("")
    assert len(info.id) == 32
    await store.append(info.id, user("hello"), assistant("world"))
    assert await texts(store, info.id) == ["hello", "world"]
    await store.delete(info.id)
    assert await listed(store) == []
    await store.close()
    assert store_threads() == alone
    assert not list(tmp_path.iterdir())
