"""The conversation store with a locked database, a killed process or a failing disk."""

import asyncio
import time
from pathlib import Path

import pytest

from callboard_service.store.store import StoreBusy, StoreFailed, StoreFenced, StoreFull
from tests.support.store_kit import Stores, listed, on_connect, other, run, texts, user

# Another writer


async def test_a_lock_that_is_held_too_long_is_said_and_nothing_is_changed(stores: Stores) -> None:
    store = await stores.open(busy_timeout=0.05)
    await store.create("first")
    with other(stores.path) as raw:
        raw.execute("BEGIN IMMEDIATE")
        for call in (store.append("c1", user("no")), store.create("no"), store.delete("c1")):
            with pytest.raises(
                StoreBusy, match=r"^/.*conversations.db is locked by another process$"
            ):
                await call
        assert [info.title for info in await listed(store)] == ["first"]
        raw.execute("ROLLBACK")
    await store.append("c1", user("yes"))
    assert await texts(store, "c1") == ["yes"]


async def test_who_opened_first_reads_on_but_writes_no_more(stores: Stores) -> None:
    one = await stores.open()
    await one.create("shared")
    two = await stores.open()
    await two.append("c1", user("from two"))
    with pytest.raises(StoreFenced):
        await one.append("c1", user("from one"))
    assert await texts(one, "c1") == await texts(two, "c1") == ["from two"]
    await two.delete("c1")
    assert await listed(one) == []


# A killed process


async def test_what_was_answered_survives_the_process_and_what_was_not_is_whole(
    stores: Stores,
) -> None:
    code = """
async def main():
    store = await opened()
    info = await store.create("kept")
    await store.append(info.id, user("one"), user("two"))
    say(info.id)
    die_now()
    await store.append(info.id, user("three"), user("four"))

def die_now():
    global armed
    armed = True

armed = False
die_at("UPDATE conversations", lambda: armed)  # after the entries of an append
"""
    exit_code, [conversation] = run(stores.path, code)
    assert exit_code == -9
    store = await stores.open()
    assert stores.reports == []
    assert [info.title for info in await listed(store)] == ["kept"]
    assert await texts(store, conversation) == ["one", "two"]
    await store.append(conversation, user("three"))
    assert await texts(store, conversation) == ["one", "two", "three"]


# The disk


async def test_a_full_disk_is_said_and_nothing_is_changed(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_connect(monkeypatch, lambda connection: connection.execute("PRAGMA max_page_count = 40"))
    store = await stores.open()
    await store.create("first")
    await store.append("c1", user("kept"))
    too_much = [user("x" * 10_000) for _ in range(20)]
    for _ in range(2):
        with pytest.raises(StoreFull, match=r"^/.*conversations.db cannot grow: the disk is full$"):
            await store.append("c1", *too_much)
        assert await texts(store, "c1") == ["kept"]
    await store.append("c1", user("smaller"))
    await store.create("second")
    await store.close()
    store = await stores.open()
    assert await texts(store, "c1") == ["kept", "smaller"]
    assert stores.reports == []


async def test_a_write_that_fails_is_said_and_nothing_is_changed(stores: Stores) -> None:
    code = """
async def main():
    store = await opened()
    info = await store.create("kept")
    await store.append(info.id, user("kept"))
    say(info.id)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    try:
        await store.append(info.id, *(user("x" * 10_000) for _ in range(50)))
    except StoreError as error:
        say(f"{type(error).__name__} {error}")
    await store.append(info.id, user("smaller"))
    say(",".join(text for _, text in await store.turns(info.id)))
    await store.close()
"""
    exit_code, [conversation, error, said] = run(stores.path, code)
    assert exit_code == 0
    assert error == f"StoreBroken {stores.path}: disk I/O error"
    assert said == "kept,smaller"
    assert await texts(await stores.open(), conversation) == ["kept", "smaller"]
    assert stores.reports == []


async def test_damage_under_an_open_store_is_said_and_set_aside_at_the_next_start(
    stores: Stores,
) -> None:
    conversation = await stores.make(*("x" * 3000 for _ in range(200)))
    store = await stores.open()
    _spoil(stores.path)
    with pytest.raises(StoreFailed, match="is damaged"):
        await store.turns(conversation)
    assert len(await listed(store)) == 1
    await store.close()
    assert stores.set_aside() == []
    await stores.open()
    assert len(stores.reports) == 1


def _spoil(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(30 * 4096)
        file.write(b"\xa5" * 4096 * 100)


# A database that another process keeps locked


async def test_reads_do_not_wait_for_a_write_that_waits(stores: Stores) -> None:
    store = await stores.open(busy_timeout=60.0)
    await store.create("first")
    with other(stores.path) as raw:
        raw.execute("BEGIN IMMEDIATE")
        append = asyncio.create_task(store.append("c1", user("patient")))
        await asyncio.sleep(0)
        assert len(await listed(store)) == 1
        assert await texts(store, "c1") == []
        assert not append.done()
        raw.execute("ROLLBACK")
    await append


async def test_writes_on_a_locked_database_all_give_up_together(stores: Stores) -> None:
    store = await stores.open(busy_timeout=0.3)
    await store.create("first")
    began = time.monotonic()
    with other(stores.path) as raw:
        raw.execute("BEGIN IMMEDIATE")
        results = await asyncio.gather(
            *(store.append("c1", user(f"{n}")) for n in range(40)), return_exceptions=True
        )
    assert {type(result) for result in results} == {StoreBusy}
    assert time.monotonic() - began < 0.3 * 20  # one after the other they would take 12 s
