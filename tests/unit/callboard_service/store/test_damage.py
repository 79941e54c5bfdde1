"""A damaged conversation database is set aside under a new name, and nothing of it is lost."""

import os
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from callboard_service.store import opening as store_opening
from callboard_service.store.store import ConversationStore, StoreRefused
from tests.support.store_kit import (
    ASIDE,
    NOON,
    Stores,
    listed,
    other,
    user,
)


def _garbage(path: Path) -> None:
    path.write_bytes(b"This is no database. " * 500)


def _three_bytes(path: Path) -> None:
    path.write_bytes(b"abc")


def _header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\0" * 100)


def _page_in_the_middle(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // 4096 * 4096)
        file.write(b"\xa5" * 4096)


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("damage", [_garbage, _three_bytes, _header, _page_in_the_middle, _cut])
async def test_a_damaged_file_is_set_aside(stores: Stores, damage: Callable[[Path], None]) -> None:
    await stores.make(*(f"{n} " * 200 for n in range(200)))
    damage(stores.path)
    before = stores.path.read_bytes()
    store = await stores.open()
    assert await listed(store) == []
    await store.create("after")
    aside = stores.path.with_name(ASIDE)
    assert aside.read_bytes() == before
    [line] = stores.reports
    assert line.startswith(f"{stores.path} is damaged: ")
    assert line.endswith(f"; it was moved to {aside}, and a new one is created")
    assert "\n" not in line
    await store.close()
    assert {*stores.names()} - {f"{ASIDE}-wal", f"{ASIDE}-shm"} == {"conversations.db", ASIDE}
    assert [info.title for info in await listed(await stores.open())] == ["after"]
    assert len(stores.reports) == 1


async def test_the_log_goes_aside_with_it(stores: Stores) -> None:
    store = await stores.open()
    conversation = await store.create("first")
    with other(stores.path) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    await store.append(conversation.id, user("only in the log"))
    # A killed process would leave the three files as they are now.
    names = stores.names()
    assert names == ["conversations.db", "conversations.db-shm", "conversations.db-wal"]
    left = stores.path.parent / "left"
    left.mkdir(0o700)
    for name in names:
        shutil.copy(stores.path.with_name(name), left / name)
    stores.path = left / "conversations.db"
    with stores.path.open("r+b") as file:  # not the first two pages: the log may have copies
        file.seek(2 * 4096)
        file.write(b"\xa5" * 4096 * 2)
    log = (left / "conversations.db-wal").read_bytes()
    assert b"only in the log" in log
    await stores.open()
    assert (left / f"{ASIDE}-wal").read_bytes() == log
    assert (left / f"{ASIDE}-shm").exists()
    assert (left / ASIDE).exists()
    assert len(stores.reports) == 1


@pytest.mark.parametrize("taken", [ASIDE, f"{ASIDE}-wal"])
async def test_what_was_set_aside_before_is_never_overwritten(stores: Stores, taken: str) -> None:
    stores.path.with_name(taken).write_text("before")
    for number in (2, 3):
        _garbage(stores.path)
        store = await stores.open()
        await store.close()
        assert stores.path.with_name(f"{ASIDE}-{number}").exists()
    assert stores.path.with_name(taken).read_text() == "before"


async def test_the_new_file_of_another_process_is_not_taken_for_the_damaged_one(
    stores: Stores,
) -> None:
    conversation = await stores.make("hello")
    good = stores.path.with_name("good.db")
    stores.path.rename(good)
    _garbage(stores.path)

    def clock() -> datetime:
        # Called once the damage is found: another process replaces the file first.
        stores.path.rename(stores.path.with_name("damaged.db"))
        good.rename(stores.path)
        return NOON

    store = await ConversationStore.open(stores.path, clock=clock, report=stores.reports.append)
    ids = [info.id for info in await listed(store)]
    await store.close()
    assert ids == [conversation]
    assert stores.names() == ["conversations.db", "damaged.db"]
    assert stores.reports == []


async def test_a_disk_that_damages_the_new_file_too_is_refused(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    _garbage(stores.path)
    original = store_opening._make_place

    def make_place(location: Path) -> Path:
        path = original(location)
        _garbage(path)
        return path

    monkeypatch.setattr(store_opening, "_make_place", make_place)
    with pytest.raises(StoreRefused, match="is damaged"):
        await stores.open()
    assert len(stores.reports) == 1


async def test_a_transaction_that_a_crash_left_open_is_rolled_back(stores: Stores) -> None:
    # A rollback journal is left only by a crash before the file was in WAL mode.
    with other(stores.path) as raw:
        raw.execute("PRAGMA journal_mode = DELETE")
        raw.execute("PRAGMA cache_size = 1")
        raw.execute("PRAGMA cache_spill = 1")
        raw.execute("BEGIN")
        raw.execute("CREATE TABLE t (x)")
        raw.executemany("INSERT INTO t VALUES (?)", [("x" * 3000,)] * 50)
        left = stores.path.parent / "left"
        left.mkdir(0o700)
        for name in ("conversations.db", "conversations.db-journal"):
            shutil.copy(stores.path.with_name(name), left / name)
            (left / name).chmod(0o600)
    stores.path = left / "conversations.db"
    assert stores.path.stat().st_size > 0, "nothing to roll back"
    store = await stores.open()
    assert await listed(store) == []
    assert stores.reports == []
