"""Many callers, cancelled callers and the end of the conversation store."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from callboard_service.store import (
    ConversationStore,
    StoreFailed,
)
from tests.service.store_kit import (
    Stores,
    assistant,
    listed,
    other,
    stores_in,
    texts,
    user,
)


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[Stores]:
    async with stores_in(tmp_path) as made:
        yield made


@pytest.fixture
async def store(stores: Stores) -> ConversationStore:
    return await stores.open()


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
    assert await texts(store, "c1") == ["one", "two"]
    await store.append("c1", user("three"))
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
    assert await texts(store, "c1") == ["0", "1", "2", "3", "4"]


async def test_who_waits_for_a_lock_holds_up_nobody(
    stores: Stores, store: ConversationStore
) -> None:
    await store.create("")
    with other(stores.path) as raw:
        raw.execute("BEGIN IMMEDIATE")
        append = asyncio.create_task(store.append("c1", user("patient")))
        for _ in range(100):
            await asyncio.sleep(0)
        raw.execute("ROLLBACK")  # too late, had the event loop waited along
    await append
    assert await texts(store, "c1") == ["patient"]


async def test_a_call_is_one_job_of_the_thread(
    store: ConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = 0
    submit = ThreadPoolExecutor.submit

    def count(thread: ThreadPoolExecutor, job: Callable[[], object]) -> "Future[object]":
        nonlocal jobs
        jobs += 1
        return submit(thread, job)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", count)
    await store.create("")
    await store.append("c1", user("one"), assistant("two"), user("three"))
    for call in (store.get("c1"), store.turns("c1"), store.history("c1", before="2")):
        await call
    await listed(store)
    await store.delete("c1")
    assert jobs == 7


async def test_closing_lets_finish_what_runs_and_ends_the_thread(stores: Stores) -> None:
    alone = threading.active_count()
    store = await stores.open()
    await store.create("")
    assert threading.active_count() == alone + 1
    append = asyncio.create_task(store.append("c1", user("last")))
    await asyncio.sleep(0)
    await asyncio.gather(store.close(), store.close())
    assert threading.active_count() == alone
    assert (await append)[0].user_text == "last"
    await store.close()
    with pytest.raises(StoreFailed, match=r"is closed$"):
        await listed(store)
    assert await texts(await stores.open(), "c1") == ["last"]
    assert not stores.reports


async def test_closing_is_cancelled_when_it_is_done(stores: Stores) -> None:
    alone = threading.active_count()
    store = await stores.open()
    await store.create("")
    with other(stores.path) as raw:
        raw.execute("BEGIN IMMEDIATE")
        append = asyncio.create_task(store.append("c1", user("last")))
        await asyncio.sleep(0)
        closing = asyncio.create_task(store.close())
        for _ in range(3):  # impatiently
            await asyncio.sleep(0)
            closing.cancel()
        await asyncio.sleep(0)
        assert not closing.done()
        raw.execute("ROLLBACK")
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert threading.active_count() == alone
    await append
    assert await texts(await stores.open(), "c1") == ["last"]


async def test_nothing_of_the_log_is_left_after_closing(stores: Stores) -> None:
    await stores.make("hello")
    assert stores.names() == ["conversations.db"]


async def test_a_store_in_memory_does_all_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    alone = threading.active_count()
    store = await ConversationStore.open(":memory:", report=print)
    info = await store.create("")
    assert len(info.id) == 32
    await store.append(info.id, user("hello"), assistant("world"))
    assert await texts(store, info.id) == ["hello", "world"]
    await store.delete(info.id)
    assert await listed(store) == []
    await store.close()
    assert threading.active_count() == alone
    assert not list(tmp_path.iterdir())
