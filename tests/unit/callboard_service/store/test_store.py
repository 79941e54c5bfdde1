"""The conversation store creates, changes and returns conversations and their entries."""

import math
from collections.abc import Mapping
from pathlib import Path

import pytest
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from callboard.v1.chat_pb2 import ChatError, HistoryEntry, ToolCallEvent, ToolResultEvent
from callboard_service.pages import LARGEST_PAGE
from callboard_service.store.entries import Json
from callboard_service.store.histories import title_of
from callboard_service.store.store import (
    ConversationStore,
    StoreError,
    StoreFailed,
    UnknownConversation,
    UnknownEntry,
)
from tests.support.store_kit import (
    NOON,
    Stores,
    assistant,
    listed,
    on_connect,
    other,
    texts,
    user,
)


async def _ids(store: ConversationStore) -> list[str]:
    return [info.id for info in await listed(store)]


# Conversations


async def test_a_conversation_is_created_and_found(store: ConversationStore) -> None:
    created = await store.create("Plans for\nMay")
    assert created.id == "c1"
    assert created.title == "Plans for\nMay"
    assert created.created_at.ToDatetime(NOON.tzinfo) == NOON
    assert created.updated_at == created.created_at
    assert await store.get("c1") == created
    assert await listed(store) == [created]


async def test_the_most_recently_changed_is_first(stores: Stores, store: ConversationStore) -> None:
    for _ in range(3):
        await store.create("")
    assert await _ids(store) == ["c3", "c2", "c1"]
    stores.clock.pass_seconds(1)
    await store.append("c1", user("more"))
    assert await _ids(store) == ["c1", "c3", "c2"]
    info = await store.get("c1")
    assert info.updated_at.ToMicroseconds() - info.created_at.ToMicroseconds() == 1_000_000


async def test_a_clock_that_is_put_back_moves_nothing_back(
    stores: Stores, store: ConversationStore
) -> None:
    before = await store.create("")
    stores.clock.pass_seconds(-60)
    await store.append("c1", user("more"))
    assert (await store.get("c1")).updated_at == before.updated_at


async def test_a_deleted_conversation_takes_its_entries_along(
    stores: Stores, store: ConversationStore
) -> None:
    await store.create("")
    await store.create("")
    [first] = await store.append("c1", user("gone"))
    await store.append("c2", user("kept"))
    await store.delete("c1")
    assert await _ids(store) == ["c2"]
    with other(stores.path) as raw:
        assert raw.execute("SELECT text FROM entries").fetchall() == [("kept",)]
    await store.delete("c2")
    await store.create("")
    [later] = await store.append("c3", user("new"))
    assert int(later.id) > int(first.id) + 1, "an id was given again"


async def test_an_unknown_conversation_is_named(store: ConversationStore) -> None:
    await store.create("")
    for call in (
        store.get("no"),
        store.delete("no"),
        store.append("no", user("hello")),
        store.history("no"),
        store.turns("no"),
    ):
        with pytest.raises(UnknownConversation, match=r"^there is no conversation 'no'$") as raised:
            await call
        assert raised.value.conversation_id == "no"
        assert isinstance(raised.value, StoreError)
        assert isinstance(raised.value, LookupError)


async def test_an_id_that_exists_is_not_taken_over(
    stores: Stores, store: ConversationStore
) -> None:
    await store.create("first")
    twice = await ConversationStore.open(stores.path, report=print, new_id=lambda: "c1")
    with pytest.raises(StoreFailed, match="UNIQUE"):
        await twice.create("second")
    await twice.close()
    assert [info.title for info in await listed(store)] == ["first"]


# Titles


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("What is new?", "What is new?"),
        ("\n \n  the\tfirst   line \r\nthe second", "the first line"),
        ("x" * 60, "x" * 60),
        ("x" * 61, "x" * 59 + "…"),
        ("word " * 20, ("word " * 12)[:59].rstrip() + "…"),
        (" \n\t", ""),
    ],
)
def test_a_title_is_the_first_line_in_60_characters(text: str, title: str) -> None:
    assert title_of(text) == title
    assert len(title) <= 60


@pytest.mark.parametrize("empty", ["", " \t"])
async def test_the_first_user_text_names_an_unnamed_conversation(
    store: ConversationStore, empty: str
) -> None:
    await store.create(empty)
    assert (await store.get("c1")).title == ""
    await store.append("c1", assistant("Welcome"), user("  "))
    assert (await store.get("c1")).title == ""
    await store.append("c1", assistant("Well?"), user("Tea\nor coffee"), user("Cake"))
    assert (await store.get("c1")).title == "Tea"
    await store.append("c1", user("Later"))
    assert (await store.get("c1")).title == "Tea"


async def test_a_given_title_stays(store: ConversationStore) -> None:
    await store.create("Mine")
    await store.append("c1", user("Tea"))
    assert (await store.get("c1")).title == "Mine"


# Entries


def _arguments(values: Mapping[str, Json]) -> Struct:
    made = Struct()
    made.update(values)
    return made


_NESTED: Mapping[str, Json] = {
    "text": "ä\0\n\"'",
    "yes": True,
    "none": None,
    "list": [1, [2.5], {}],
    "big": 1e300,
}
_KINDS = [
    user(""),
    user("line one\nline two\0 after nul, \U0001f3ad"),
    assistant("Hello"),
    HistoryEntry(tool_call=ToolCallEvent()),
    HistoryEntry(tool_call=ToolCallEvent(call_id="t1", name="read", arguments=Struct())),
    HistoryEntry(tool_call=ToolCallEvent(name="n", arguments=_arguments(_NESTED))),
    HistoryEntry(tool_call=ToolCallEvent(arguments=_arguments({"zero": -0.0, "least": -math.inf}))),
    HistoryEntry(tool_result=ToolResultEvent()),
    HistoryEntry(tool_result=ToolResultEvent(call_id="t1", output="no", is_error=True)),
    HistoryEntry(error=ChatError()),
    HistoryEntry(
        error=ChatError(
            message="busy", code="UNAVAILABLE", retryable=True, retry_after_ms=4_294_967_295
        )
    ),
]


async def test_every_kind_of_entry_comes_back_as_it_was(
    stores: Stores, store: ConversationStore
) -> None:
    await store.create("")
    given = [entry.SerializeToString() for entry in _KINDS]
    kept = await store.append("c1", *_KINDS)
    assert [entry.SerializeToString() for entry in _KINDS] == given, "changed what it was given"
    assert [entry.id for entry in kept] == [str(n) for n in range(1, len(_KINDS) + 1)]
    assert {entry.at.ToDatetime(NOON.tzinfo) for entry in kept} == {NOON}
    await store.close()
    history = await (await stores.open()).history("c1")
    assert list(history.entries) == kept
    for entry, before in zip(history.entries, _KINDS, strict=True):
        assert entry.WhichOneof("entry") == before.WhichOneof("entry")
        entry.ClearField("id")
        entry.ClearField("at")
        # Deterministic, since fields of a Struct have no order. Bytes distinguish -0.0 from 0.0.
        assert entry.SerializeToString(deterministic=True) == before.SerializeToString(
            deterministic=True
        )


async def test_a_number_that_json_lacks_comes_back(store: ConversationStore) -> None:
    await store.create("")
    call = ToolCallEvent(arguments=_arguments({"number": math.nan}))
    await store.append("c1", HistoryEntry(tool_call=call))
    [entry] = (await store.history("c1")).entries
    assert math.isnan(entry.tool_call.arguments.fields["number"].number_value)


async def test_a_value_that_was_never_set_comes_back_as_null(store: ConversationStore) -> None:
    await store.create("")
    call = ToolCallEvent()
    call.arguments.fields["unset"].SetInParent()
    await store.append("c1", HistoryEntry(tool_call=call))
    [entry] = (await store.history("c1")).entries
    assert entry.tool_call.arguments.fields["unset"].WhichOneof("kind") == "null_value"


async def test_a_time_that_is_given_is_kept_to_the_microsecond(store: ConversationStore) -> None:
    await store.create("")
    at = Timestamp(seconds=1_700_000_000, nanos=123_456_789)
    kept = await store.append("c1", HistoryEntry(at=at, user_text="then"), user("now"))
    assert kept[0].at == Timestamp(seconds=1_700_000_000, nanos=123_456_000)
    assert kept[1].at.ToDatetime(NOON.tzinfo) == NOON
    assert list((await store.history("c1")).entries) == kept


@pytest.mark.parametrize(
    "impossible",
    [HistoryEntry(), HistoryEntry(user_text="late", at=Timestamp(seconds=300_000_000_000))],
)
async def test_one_impossible_entry_keeps_all_out(
    store: ConversationStore, impossible: HistoryEntry
) -> None:
    await store.create("")
    with pytest.raises(ValueError, match=r"empty entry|[Tt]imestamp"):
        await store.append("c1", user("good"), impossible)
    assert await texts(store, "c1") == []
    assert (await store.get("c1")).title == ""


async def test_turns_are_what_people_and_models_said(store: ConversationStore) -> None:
    await store.create("")
    await store.append("c1", user("2 + 2?"), HistoryEntry(tool_call=ToolCallEvent(name="add")))
    await store.append("c1", HistoryEntry(tool_result=ToolResultEvent(output="4")))
    await store.append("c1", assistant("4"), HistoryEntry(error=ChatError(message="gone")))
    assert await store.turns("c1") == [("user", "2 + 2?"), ("assistant", "4")]


# Pages of a history


async def _page(
    store: ConversationStore, conversation: str, limit: int, before: str = ""
) -> tuple[list[str], bool]:
    history = await store.history(conversation, limit=limit, before=before)
    return [entry.user_text for entry in history.entries], history.more


async def test_a_history_is_read_page_by_page(store: ConversationStore) -> None:
    await store.create("")
    await store.create("")
    for number in range(5):  # alternately, so that the ids of each have gaps
        await store.append("c1", user(f"a{number}"))
        await store.append("c2", user(f"b{number}"))
    assert await _page(store, "c1", 2) == (["a3", "a4"], True)
    [third, *_] = (await store.history("c1", limit=2)).entries
    assert await _page(store, "c1", 2, third.id) == (["a1", "a2"], True)
    assert await _page(store, "c1", 3, third.id) == (["a0", "a1", "a2"], False)
    [first, *_] = (await store.history("c1")).entries
    assert await _page(store, "c1", 0, first.id) == ([], False)
    assert await _page(store, "c1", 5) == ([f"a{n}" for n in range(5)], False)


async def test_a_page_has_a_largest_size(store: ConversationStore) -> None:
    await store.create("")
    numbers = [str(number) for number in range(LARGEST_PAGE + 1)]
    await store.append("c1", *(user(number) for number in numbers))
    for limit, size in ((0, 200), (1, 1), (1000, 1000), (4_294_967_295, LARGEST_PAGE)):
        assert await _page(store, "c1", limit) == (numbers[-size:], True)
    assert await _page(store, "c1", LARGEST_PAGE, str(LARGEST_PAGE + 1)) == (numbers[:-1], False)


async def test_an_unknown_entry_is_named(store: ConversationStore) -> None:
    await store.create("")
    await store.create("")
    await store.append("c1", user("mine"))
    await store.append("c2", user("of another conversation"))
    for before in ("2", "3", "0", "01", "1 ", "+1", "1.0", "x", "-1", "9" * 40):
        with pytest.raises(UnknownEntry, match=r"^the conversation has no entry '") as raised:
            await store.history("c1", before=before)
        assert raised.value.entry_id == before
        assert isinstance(raised.value, StoreError)


async def test_a_limit_is_not_negative(store: ConversationStore) -> None:
    await store.create("")
    with pytest.raises(ValueError, match="not negative"):
        await store.history("c1", limit=-1)


async def test_a_page_of_a_long_history_costs_what_one_of_a_short_one_does(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await stores.open()
    for _ in range(2):
        await store.create("")
    await store.close()
    with other(stores.path) as raw:
        for conversation, count in ((1, 1_000), (2, 100_000)):
            raw.execute(
                "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
                " INSERT INTO entries (conversation, at, kind, text)"
                " SELECT ?, i, 'user_text', 'entry ' || i FROM n",
                (count, conversation),
            )
    steps = 0

    def count_step() -> int:
        nonlocal steps
        steps += 1
        return 0

    on_connect(monkeypatch, lambda connection: connection.set_progress_handler(count_step, 10))
    # quick_check alone takes millions of steps, which must not be counted.
    monkeypatch.setattr("callboard_service.store.opening._examine", _no_examination)
    store = await stores.open()
    await store.history("c1")  # the first read of a connection reads the schema too
    costs = []
    for identity, before in (("c1", ""), ("c2", ""), ("c1", "501"), ("c2", "51000")):
        steps = 0
        history = await store.history(identity, limit=50, before=before)
        assert len(history.entries) == 50
        costs.append(steps)
    assert min(costs) > 10
    assert max(costs) - min(costs) <= 5, costs


async def _no_examination(path: Path, busy_timeout: float, *, thorough: bool) -> None:
    """Find no damage."""
