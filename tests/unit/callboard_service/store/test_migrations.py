"""An older conversation database is migrated to the newest version, one atomic step at a time."""

from pathlib import Path

import pytest

from callboard_service.store import opening as store_opening
from callboard_service.store.schema import MIGRATIONS
from tests.support.store_kit import (
    Stores,
    other,
    refusal,
    run,
    texts,
)

_NEXT = ("ALTER TABLE conversations ADD COLUMN model TEXT", "UPDATE conversations SET model = 'm'")


def _migrations(monkeypatch: pytest.MonkeyPatch, *further: tuple[str, ...]) -> None:
    monkeypatch.setattr(store_opening, "MIGRATIONS", (*MIGRATIONS, *further))


def _state(path: Path) -> tuple[int, list[str]]:
    with other(path) as raw:
        [version] = raw.execute("PRAGMA user_version").fetchone()
        columns = [row[1] for row in raw.execute("PRAGMA table_info (conversations)")]
    return version - len(MIGRATIONS), columns[5:]


async def test_an_older_version_becomes_the_newest(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = await stores.make("hello")
    assert _state(stores.path) == (0, [])
    _migrations(monkeypatch, _NEXT, ("ALTER TABLE conversations ADD COLUMN note TEXT",))
    store = await stores.open()
    assert await texts(store, conversation) == ["hello"]
    assert _state(stores.path) == (2, ["model", "note"])


async def test_a_failed_migration_leaves_the_last_good_version(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = await stores.make("hello")
    with monkeypatch.context() as patch:
        _migrations(patch, _NEXT, ("DELETE FROM entries", "SELECT no FROM such_table"))
        assert "no such table: such_table" in await refusal(stores)
    assert _state(stores.path) == (1, ["model"])
    _migrations(monkeypatch, _NEXT)
    assert await texts(await stores.open(), conversation) == ["hello"]


async def test_a_migration_may_take_a_table_apart(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = await stores.make("hello")
    sql = "CREATE TABLE entries_2 AS SELECT * FROM conversations"
    _migrations(monkeypatch, (sql, "DROP TABLE conversations", f"{sql[:13]}conversations (id)"))
    await stores.open()
    with other(stores.path) as raw:
        assert raw.execute("SELECT text FROM entries").fetchall() == [("hello",)]
        assert raw.execute("SELECT id FROM entries_2").fetchall() == [(conversation,)]


async def test_a_process_killed_in_a_migration_leaves_the_old_version(stores: Stores) -> None:
    conversation = await stores.make("hello")
    code = f"""
store_opening.MIGRATIONS = (*store_opening.MIGRATIONS, {_NEXT!r})

async def main():
    die_at("PRAGMA user_version = 2")
    await opened()
"""
    assert run(stores.path, code) == (-9, [])
    assert _state(stores.path) == (0, [])
    assert await texts(await stores.open(), conversation) == ["hello"]
    assert stores.reports == []
