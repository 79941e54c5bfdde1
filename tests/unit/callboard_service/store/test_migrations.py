"""An older conversation database is migrated to the newest version, one atomic step at a time."""

from pathlib import Path

import pytest

from callboard.v1.chat_pb2 import (
    ChatError,
    ConversationState,
    HistoryEntry,
    ToolCallEvent,
    ToolResultEvent,
)
from callboard_service.store import opening as store_opening
from callboard_service.store.schema import MIGRATIONS
from callboard_service.store.store import NewTurn
from tests.support.store_kit import (
    Stores,
    listed,
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
    return version - len(MIGRATIONS), columns[10:]


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
    die_at("PRAGMA user_version = {len(MIGRATIONS) + 1}")
    await opened()
"""
    assert run(stores.path, code) == (-9, [])
    assert _state(stores.path) == (0, [])
    assert await texts(await stores.open(), conversation) == ["hello"]
    assert stores.reports == []


_VERSION_1 = """
    INSERT INTO conversations (id, title, created_at, updated_at) VALUES ('c1', 'Old', 1, 2);
    INSERT INTO entries (conversation, at, kind, text) VALUES (1, 3, 'user_text', 'two?');
    INSERT INTO entries (conversation, at, kind, call_id, name, arguments)
        VALUES (1, 4, 'tool_call', 'k', 'read', '{"path": "/a"}');
    INSERT INTO entries (conversation, at, kind, text, call_id, is_error)
        VALUES (1, 5, 'tool_result', 'out', 'k', 1);
    INSERT INTO entries (conversation, at, kind, text, code, retryable, retry_after_ms)
        VALUES (1, 6, 'error', 'busy', 'UNAVAILABLE', 1, 9);
    INSERT INTO entries (conversation, at, kind, text) VALUES (1, 7, 'assistant_text', '2');
"""


async def test_a_file_of_the_first_version_keeps_its_conversations_and_takes_turns(
    stores: Stores,
) -> None:
    """A database made before turns were kept is readable, and its conversations go on."""
    with other(stores.path) as raw:
        for statement in MIGRATIONS[0]:
            raw.execute(statement)
        raw.executescript(_VERSION_1 + "PRAGMA user_version = 1")
    stores.path.chmod(0o600)
    store = await stores.open()
    (info,) = await listed(store)
    assert (info.id, info.title, info.state) == (
        "c1", "Old", ConversationState.CONVERSATION_STATE_IDLE
    )  # fmt: skip
    call = ToolCallEvent(call_id="k", name="read")
    call.arguments.update({"path": "/a"})
    expected = [
        HistoryEntry(user_text="two?"),
        HistoryEntry(tool_call=call),
        HistoryEntry(tool_result=ToolResultEvent(output="out", call_id="k", is_error=True)),
        HistoryEntry(
            error=ChatError(message="busy", code="UNAVAILABLE", retryable=True, retry_after_ms=9)
        ),
        HistoryEntry(assistant_text="2"),
    ]
    for number, entry in enumerate(expected, start=1):
        entry.id = str(number)
        entry.at.FromMicroseconds(number + 2)
    assert list((await store.history("c1")).entries) == expected
    assert await store.open_turns("c1") == []
    admission = await store.admit("c1", NewTurn("t1", "more", "m1", starts=True))
    assert not admission.repeated
    assert store.run == 1
    assert await texts(store, "c1") == ["two?", "2", "more"]
    assert stores.reports == []
