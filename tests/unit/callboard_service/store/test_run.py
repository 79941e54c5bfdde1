"""Run numbers are issued once, reach the disk, and keep all but the newest opening from writing."""

from collections.abc import Awaitable, Callable

import pytest

from callboard.v1.chat_pb2 import ChatError, TurnState
from callboard_service.backends.stored import StoredConversations
from callboard_service.store.run import LARGEST_RUN
from callboard_service.store.store import (
    ConversationStore,
    NewTurn,
    StoreFailed,
    StoreFenced,
    StoreLost,
)
from tests.support.store_kit import Stores, assistant, on_connect, other, refusal, user


async def test_each_opening_has_a_larger_number(stores: Stores) -> None:
    """A reopened database never has a run number again."""
    runs = []
    for _ in range(3):
        store = await stores.open()
        runs.append(store.run)
        await store.close()
    assert runs == [1, 2, 3]


async def test_the_number_is_synced_before_the_database_is_open(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transaction that issues a number, and no later one, is synced to the disk."""
    said: list[str] = []
    on_connect(monkeypatch, lambda connection: connection.set_trace_callback(said.append))
    store = await stores.open()
    opened = len(said)
    await store.create("")
    full = said.index("PRAGMA synchronous = FULL")
    issued = said.index("UPDATE run SET number = 1")
    committed = said.index("COMMIT", issued)
    normal = said.index("PRAGMA synchronous = NORMAL", full)
    assert said.index("PRAGMA fullfsync = ON") < issued
    assert full < issued < committed < normal < opened


async def test_a_database_that_was_opened_too_often_is_refused(stores: Stores) -> None:
    """A run number has 24 bits, and none is used twice when they are used up."""
    await stores.make("hello")
    with other(stores.path) as raw:
        raw.execute("UPDATE run SET number = ?", (LARGEST_RUN - 1,))
    store = await stores.open()
    assert store.run == LARGEST_RUN == 2**24 - 1
    await store.close()
    assert "no run number is left" in await refusal(stores)


async def test_a_new_file_of_the_same_process_goes_on_counting(stores: Stores) -> None:
    """A file that is lost while the service runs does not bring its run numbers back."""
    kept = StoredConversations(stores.path, stores.reports.append)
    await kept.open()
    first = kept._store
    assert first is not None
    stores.path.unlink()
    await kept.reopen(first, StoreLost("removed"))
    second = kept._store
    assert second is not None
    await kept.close()
    assert (first.run, second.run) == (1, 2)


async def test_a_database_in_memory_has_a_number_too() -> None:
    """The backend echo issues positions as well."""
    store = await ConversationStore.open(":memory:", report=print, run_above=6)
    assert store.run == 7
    await store.create("")
    await store.close()


_WRITES: dict[str, Callable[[ConversationStore], Awaitable[object]]] = {
    "create": lambda store: store.create("no"),
    "delete": lambda store: store.delete("c1"),
    "append": lambda store: store.append("c1", user("no")),
    "admit": lambda store: store.admit("c1", NewTurn("t9", "no", starts=False)),
    "known": lambda store: store.admit("c1", NewTurn("t9", "no", "m1", starts=False)),
    "start": lambda store: store.start("c1", "t2"),
    "set_state": lambda store: store.set_state("c1", "t1", TurnState.TURN_STATE_WAITING),
    "update": lambda store: store.update_queued("c1", "t2", text="no"),
    "add_pieces": lambda store: store.add_pieces("c1", "t1", [assistant("no")]),
    "end": lambda store: store.end(
        "c1", "t1", TurnState.TURN_STATE_FAILED, [], completed=None, error=ChatError(code="no")
    ),
    "interrupt": lambda store: store.interrupt("c1", "t1"),
    "probe": lambda store: store.probe(),
}


async def test_an_older_opening_writes_nothing(stores: Stores) -> None:
    """Every write of a store whose database was opened again raises StoreFenced."""
    store = await stores.open()
    await store.create("")
    await store.admit("c1", NewTurn("t1", "one", "m1", starts=True))
    await store.admit("c1", NewTurn("t2", "two", starts=False))
    newer = await stores.open()
    before = await newer.get("c1"), await newer.open_turns("c1"), await newer.history("c1")
    for name, write in _WRITES.items():
        with pytest.raises(StoreFenced, match=r"run 2; this is run 1") as raised:
            await write(store)
        assert isinstance(raised.value, StoreFailed), name
    assert (
        await newer.get("c1"),
        await newer.open_turns("c1"),
        await newer.history("c1"),
    ) == before
    assert await newer.turn_entries("c1", "t1") == list(before[2].entries)
