"""Pages of lists and histories, and the turns given to a model, are bounded in bytes."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from actors import Code, Failure
from callboard.v1.chat_pb2 import HistoryEntry, SessionList, ToolCallEvent, ToolResultEvent
from callboard_service.pages import MAX_ENTRY_BYTES, PAGE_BYTES, shorten
from callboard_service.store.entries import entry_of_row
from callboard_service.store.store import ConversationStore
from tests.support.store_kit import Stores, assistant, other, texts, user

KIB = 1024


async def _all_pages(store: ConversationStore, limit: int = 0) -> list[SessionList]:
    pages = [await store.conversations(limit)]
    while pages[-1].next_page:
        pages.append(await store.conversations(limit, pages[-1].next_page))
    return pages


# Lists


async def test_a_list_is_read_page_by_page_newest_first(store: ConversationStore) -> None:
    for _ in range(7):  # all with the same timestamp
        await store.create("")
    pages = await _all_pages(store, 3)
    found = [[info.id for info in page.sessions] for page in pages]
    assert found == [["c7", "c6", "c5"], ["c4", "c3", "c2"], ["c1"]]


async def test_a_list_without_a_limit_has_pages_of_bounded_size(stores: Stores) -> None:
    store = await stores.open()
    await store.create("")
    with other(stores.path) as raw:
        raw.execute(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
            " INSERT INTO conversations (id, title, created_at, updated_at)"
            " SELECT 'x' || i, 'a title of some length ' || i, i, i FROM n"
        )
    pages = await _all_pages(store)
    assert all(page.ByteSize() <= PAGE_BYTES + 100 for page in pages)
    assert sum(len(page.sessions) for page in pages) == 20_001
    assert len({info.id for page in pages for info in page.sessions}) == 20_001
    assert len(pages) < 6


async def test_equal_requests_for_the_first_page_are_answered_with_one_object_until_a_write(
    stores: Stores, store: ConversationStore
) -> None:
    await store.create("one")
    first, *others = await asyncio.gather(*(store.conversations() for _ in range(20)))
    assert all(page is first for page in others)
    with other(stores.path) as raw:  # another process changes it
        raw.execute("UPDATE conversations SET title = 'two'")
    assert [info.title for info in (await store.conversations()).sessions] == ["two"]
    await store.create("three")
    assert len((await store.conversations()).sessions) == 2


async def test_a_list_in_memory_shows_each_write_at_once(tmp_path: Path) -> None:
    store = await ConversationStore.open(":memory:", report=print)
    try:
        for number in range(3):
            assert len((await store.conversations()).sessions) == number
            await store.create("")
    finally:
        await store.close()


@pytest.mark.parametrize(
    "page", ["x", "1", "1.", ".1", "1.2.3", "1.x", "-.1", "1." + "9" * 40, "9" * 19 + ".1", "é.1"]
)
async def test_a_page_token_that_was_never_issued_is_an_invalid_argument(
    store: ConversationStore, page: str
) -> None:
    with pytest.raises(Failure) as caught:
        await store.conversations(0, page)
    assert caught.value.code is Code.INVALID_ARGUMENT


# Histories


async def test_a_page_of_a_history_is_bounded_in_bytes_and_all_entries_are_reached(
    store: ConversationStore,
) -> None:
    await store.create("")
    sizes = [1, 200 * KIB, 200 * KIB, 600 * KIB, 10, 300 * KIB, 300 * KIB]
    await store.append("c1", *(user("x" * size) for size in sizes))
    pages, before = [], ""
    while True:
        history = await store.history("c1", before=before)
        pages.append([len(entry.user_text) for entry in history.entries])
        if not history.more:
            break
        assert len(history.entries) == 1 or history.ByteSize() <= PAGE_BYTES + 100
        before = history.entries[0].id
    assert pages == [
        [300 * KIB],
        [10, 300 * KIB],
        [600 * KIB],
        [1, 200 * KIB, 200 * KIB],
    ]


async def test_no_more_is_read_from_the_database_than_a_page_needs(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = 0

    def count(row: sqlite3.Row) -> HistoryEntry:
        nonlocal made
        made += 1
        return entry_of_row(row)

    monkeypatch.setattr("callboard_service.store.histories.entry_of_row", count)
    store = await stores.open()
    await store.create("")
    await store.append("c1", *(user("x" * 400 * KIB) for _ in range(40)))
    history = await store.history("c1")
    assert len(history.entries) == 1
    assert made == 2


# Turns for a model


async def test_a_model_is_given_the_newest_turns_that_fit_and_told_how_many_do_not(
    store: ConversationStore,
) -> None:
    await store.create("")
    await store.append("c1", *(user(f"{n}" + "é" * 50) for n in range(5)), assistant("newest"))
    turns = await store.turns("c1", 300)
    assert [text[0] for _, text in turns] == ["3", "4", "n"]
    assert turns.left_out == 3
    whole = await store.turns("c1")
    assert len(whole) == 6
    assert whole.left_out == 0


async def test_the_newest_turn_is_given_whatever_its_size(store: ConversationStore) -> None:
    await store.create("")
    await store.append("c1", user("old"), user("x" * 1000))
    turns = await store.turns("c1", 10)
    assert [len(text) for _, text in turns] == [1000]
    assert turns.left_out == 1
    assert len(await texts(store, "c1")) == 2


# Entries that are too long for a frame


def _long_entries(size: int) -> list[HistoryEntry]:
    call = ToolCallEvent(call_id="1", name="write")
    call.arguments.update({"text": "x" * size})
    result = ToolResultEvent(call_id="1", output="x" * size)
    result.diffs.add(path="a", patch="y" * size)
    entries = [
        HistoryEntry(user_text="é" * (size // 2)),
        HistoryEntry(assistant_text="x" * size),
        HistoryEntry(reasoning_text="\N{GRINNING FACE}" * (size // 4)),
        HistoryEntry(tool_call=call),
        HistoryEntry(tool_result=result),
    ]
    entries.append(HistoryEntry())
    entries[-1].error.message = "x" * size
    return entries


@pytest.mark.parametrize("at_most", [63 * KIB, MAX_ENTRY_BYTES])
def test_an_entry_that_is_too_long_is_cut_with_a_mark_that_says_how_much_is_missing(
    at_most: int,
) -> None:
    for entry in _long_entries(at_most + 1000):
        shorten(entry, at_most)
        assert entry.ByteSize() <= at_most
        assert "bytes are left out" in str(entry)


def test_the_mark_of_a_cut_text_counts_the_missing_bytes() -> None:
    entry = HistoryEntry(user_text="é" * 1000)
    shorten(entry, 1000)
    kept, _, mark = entry.user_text.partition("\n")
    assert mark == f"[… {2 * (1000 - len(kept))} bytes are left out here]"


def test_an_entry_that_fits_is_not_touched() -> None:
    entry = HistoryEntry(user_text="x" * 900)
    shorten(entry, 1000)
    assert entry == HistoryEntry(user_text="x" * 900)
