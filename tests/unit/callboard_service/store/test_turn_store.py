"""Turns: admitted once, queued, started, ended, interrupted, replaced."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from callboard.v1.chat_pb2 import (
    AskClosed,
    AskEvent,
    AskOption,
    Attachment,
    ChatCompleted,
    ChatError,
    ConversationState,
    HistoryEntry,
    StopReason,
    ToolCallEvent,
    ToolKind,
    ToolResultEvent,
    TurnState,
)
from callboard_service.store.pieces import CUT_OFF
from callboard_service.store.store import (
    ConversationStore,
    KeptTurn,
    NewTurn,
    TurnConflict,
    UnknownConversation,
    UnknownTurn,
)
from tests.support.store_kit import Stores, assistant, listed, on_connect, other, texts, user

QUEUED = TurnState.TURN_STATE_QUEUED
RUNNING = TurnState.TURN_STATE_RUNNING
WAITING = TurnState.TURN_STATE_WAITING
STOPPING = TurnState.TURN_STATE_STOPPING
COMPLETED = TurnState.TURN_STATE_COMPLETED
FAILED = TurnState.TURN_STATE_FAILED
CANCELLED = TurnState.TURN_STATE_CANCELLED
INTERRUPTED = TurnState.TURN_STATE_INTERRUPTED

DONE = ChatCompleted(output_tokens=3, stop_reason=StopReason.STOP_REASON_END_TURN)
BROKEN = ChatError(message="no answer", code="UNAVAILABLE", retryable=True)
STOPPED = ChatError(message="stopped", code="CANCELLED")


@pytest.fixture
async def kept(store: ConversationStore) -> ConversationStore:
    """A store with a conversation `c1`."""
    await store.create("")
    return store


async def run(
    store: ConversationStore, turn_id: str, text: str = "hi", message_id: str = ""
) -> None:
    """Admit a turn that starts at once."""
    await store.admit("c1", NewTurn(turn_id, text, message_id, starts=True))


async def queue(store: ConversationStore, *turn_ids: str) -> None:
    for turn_id in turn_ids:
        await store.admit("c1", NewTurn(turn_id, f"text of {turn_id}", starts=False))


async def fail(store: ConversationStore, turn_id: str, *entries: HistoryEntry) -> None:
    await store.end("c1", turn_id, FAILED, entries, completed=None, error=BROKEN)


async def complete(store: ConversationStore, turn_id: str, *entries: HistoryEntry) -> None:
    await store.end("c1", turn_id, COMPLETED, entries, completed=DONE, error=None)


async def entries(store: ConversationStore) -> list[HistoryEntry]:
    return list((await store.history("c1")).entries)


async def shown(store: ConversationStore) -> list[str]:
    """The turn of each entry, and what it says."""
    return [f"{entry.turn_id}:{_said(entry)}" for entry in await entries(store)]


def _said(entry: HistoryEntry) -> str:
    kind = entry.WhichOneof("entry") or ""
    value = getattr(entry, kind)
    return value if isinstance(value, str) else kind


def places(turns: Sequence[KeptTurn]) -> list[tuple[str, int]]:
    return [(turn.id, turn.place) for turn in turns]


async def found(store: ConversationStore, turn_id: str) -> KeptTurn:
    turn = await store.find_turn("c1", turn_id=turn_id)
    assert turn is not None
    return turn


# Conversations


async def test_a_create_id_creates_once(store: ConversationStore) -> None:
    """A repeated create id gives the same conversation, until that one is deleted."""
    first = await store.create("one", "k")
    assert await store.create("two", "k") == first
    assert (await store.create("three", "other")).id != first.id
    assert (await store.create("four")).id != (await store.create("five")).id
    await store.delete(first.id)
    assert (await store.create("six", "k")).title == "six"


# Admission


async def test_a_turn_that_starts_is_in_the_history_at_once(
    stores: Stores, kept: ConversationStore
) -> None:
    """Admission stores the turn, its text, the title and the time in one transaction."""
    stores.clock.pass_seconds(5)
    deadline = datetime(2026, 5, 1, 12, 30, 0, 250, tzinfo=UTC)
    new = NewTurn("t1", "Tea?\nor", "m1", "big", True, deadline, starts=True)
    admission = await kept.admit("c1", new)
    assert not admission.repeated
    assert admission.turn == KeptTurn(
        "t1", "m1", "Tea?\nor", "big", True, deadline, RUNNING, 0, None, None
    )
    assert await shown(kept) == ["t1:Tea?\nor"]
    info = await kept.get("c1")
    assert info.title == "Tea?"
    assert (info.updated_at.seconds, info.state) == (
        info.created_at.seconds + 5,
        ConversationState.CONVERSATION_STATE_RUNNING,
    )
    assert await kept.find_turn("c1", message_id="m1") == admission.turn
    assert await kept.find_turn("c1", turn_id="t1") == admission.turn


async def test_a_known_message_writes_nothing(stores: Stores, kept: ConversationStore) -> None:
    """A message id that the conversation knows is looked up before anything else."""
    await run(kept, "t1", "hi", "m1")
    stores.clock.pass_seconds(5)
    before = await kept.get("c1")
    for again in (
        NewTurn("t2", "other", "m1", starts=True),
        NewTurn("t2", "other", "m1", replaces="nothing", starts=False),
    ):
        admission = await kept.admit("c1", again)
        assert admission.repeated
        assert (admission.turn.id, admission.turn.text) == ("t1", "hi")
    assert await shown(kept) == ["t1:hi"]
    assert await kept.get("c1") == before
    await complete(kept, "t1")
    assert (await kept.admit("c1", NewTurn("t3", "", "m1", starts=True))).turn.completed == DONE


async def test_a_message_id_belongs_to_one_conversation(kept: ConversationStore) -> None:
    """Another conversation may use the same message and turn ids."""
    await kept.create("")
    await run(kept, "t1", "hi", "m1")
    other_one = await kept.admit("c2", NewTurn("t1", "ho", "m1", starts=True))
    assert not other_one.repeated
    assert [turn.text for turn in await kept.open_turns("c1")] == ["hi"]
    assert [turn.text for turn in await kept.open_turns("c2")] == ["ho"]
    assert await kept.conversations_with_open_turns() == ["c1", "c2"]
    await complete(kept, "t1")
    assert await kept.conversations_with_open_turns() == ["c2"]


async def test_unknown_names_are_refused(kept: ConversationStore) -> None:
    """Unknown conversations and turns have errors of their own."""
    with pytest.raises(UnknownConversation):
        await kept.admit("no", NewTurn("t1", "", starts=True))
    with pytest.raises(UnknownConversation):
        await kept.open_turns("no")
    assert await kept.find_turn("c1", turn_id="no") is None
    assert await kept.find_turn("c1") is None
    for call in (
        kept.start("c1", "no"),
        kept.interrupt("c1", "no"),
        kept.begin_again("c1", "no"),
        kept.add_pieces("c1", "no", []),
        kept.turn_entries("c1", "no"),
        kept.update_queued("c1", "no"),
    ):
        with pytest.raises(UnknownTurn, match="no turn 'no'"):
            await call


async def test_one_turn_runs_at_a_time(kept: ConversationStore) -> None:
    """A second turn does not start while the first one has not ended."""
    await run(kept, "t1")
    await queue(kept, "t2")
    with pytest.raises(TurnConflict, match="another turn"):
        await run(kept, "t3")
    with pytest.raises(TurnConflict, match="another turn"):
        await kept.start("c1", "t2")
    assert places(await kept.open_turns("c1")) == [("t1", 0), ("t2", 1)]


async def test_a_repeated_text_without_an_id_replaces_the_unanswered_one(
    kept: ConversationStore,
) -> None:
    """The rule of `append` holds for turns without a message id, whenever their text is written."""
    await run(kept, "t1", "hi")
    await fail(kept, "t1")
    await run(kept, "t2", "hi")
    assert await shown(kept) == ["t2:hi"]
    assert await kept.find_turn("c1", turn_id="t1") is None
    await kept.admit("c1", NewTurn("t3", "hi", starts=False))
    await kept.end("c1", "t2", FAILED, [], completed=None, error=BROKEN, start="t3")
    assert await shown(kept) == ["t3:hi"]
    await fail(kept, "t3", assistant("part"))
    await run(kept, "t4", "hi")
    assert await shown(kept) == ["t3:hi", "t3:part", "t3:error", "t4:hi"]


async def test_a_message_with_an_id_is_replaced_only_by_name(kept: ConversationStore) -> None:
    """A repeated text leaves the message of a turn with a message id, or of a running turn."""
    await run(kept, "t1", "hi", "m1")
    await kept.append("c1", user("hi"))
    await fail(kept, "t1")
    await run(kept, "t2", "hi", "m2")
    assert await shown(kept) == ["t1:hi", ":hi", "t1:error", "t2:hi"]


# The queue


async def test_the_queue_is_changed_as_data(kept: ConversationStore) -> None:
    """Places are consecutive, whatever is moved, started, cancelled or inserted."""
    await run(kept, "t0")
    await queue(kept, "a", "b", "c", "d")
    assert places(await kept.open_turns("c1"))[1:] == [("a", 1), ("b", 2), ("c", 3), ("d", 4)]
    moved = await kept.update_queued("c1", "d", place=2)
    assert places(moved) == [("a", 1), ("d", 2), ("b", 3), ("c", 4)]
    moved = await kept.update_queued("c1", "a", text="new", place=99)
    assert places(moved) == [("d", 1), ("b", 2), ("c", 3), ("a", 4)]
    assert moved[-1].text == "new"
    await kept.admit("c1", NewTurn("next", "x", starts=False, place=1))
    await kept.end("c1", "b", CANCELLED, [], completed=None, error=STOPPED)
    await kept.end("c1", "t0", CANCELLED, [], completed=None, error=STOPPED, start="next")
    assert places(await kept.open_turns("c1")) == [("next", 0), ("d", 1), ("c", 2), ("a", 3)]
    assert await shown(kept) == ["t0:hi", "t0:error", "next:x"]


async def test_a_turn_that_runs_is_not_changed(kept: ConversationStore) -> None:
    """Text and place are fixed once the turn has started."""
    await queue(kept, "t1")
    await kept.start("c1", "t1")
    for call in (kept.update_queued("c1", "t1", text="no"), kept.start("c1", "t1")):
        with pytest.raises(TurnConflict, match="not queued"):
            await call
    assert (await found(kept, "t1")).text == "text of t1"


async def test_a_turn_cancelled_in_the_queue_leaves_its_message_id_only(
    kept: ConversationStore,
) -> None:
    """The history does not show it, and its message, sent again, gets the same turn."""
    await run(kept, "t1")
    await kept.admit("c1", NewTurn("t2", "two", "m2", starts=False))
    with pytest.raises(TurnConflict, match="not started"):
        await kept.end("c1", "t2", COMPLETED, [], completed=DONE, error=None)
    with pytest.raises(TurnConflict, match="not started"):
        await kept.end("c1", "t2", CANCELLED, [assistant("x")], completed=None, error=STOPPED)
    await kept.end("c1", "t2", CANCELLED, [], completed=None, error=STOPPED)
    assert await shown(kept) == ["t1:hi"]
    assert await kept.turn_entries("c1", "t2") == []
    again = await kept.admit("c1", NewTurn("t3", "two", "m2", starts=False))
    assert again.repeated
    assert (again.turn.id, again.turn.state, again.turn.error) == ("t2", CANCELLED, STOPPED)
    assert (again.turn.text, again.turn.place) == ("two", 0)


# States


async def test_the_state_of_a_conversation_follows_its_turns(kept: ConversationStore) -> None:
    """A list shows RUNNING while a turn is open, and WAITING while one waits for an answer."""

    async def state() -> str:
        info = await kept.get("c1")
        assert await listed(kept) == [info]
        return ConversationState.Name(info.state).removeprefix("CONVERSATION_STATE_")

    assert await state() == "IDLE"
    await queue(kept, "t1", "t2")
    assert await state() == "RUNNING"
    await kept.start("c1", "t1")
    await kept.set_state("c1", "t1", WAITING)
    assert await state() == "WAITING"
    await kept.set_state("c1", "t1", STOPPING)
    assert (await found(kept, "t1")).state == STOPPING
    assert await state() == "RUNNING"
    await kept.end("c1", "t1", CANCELLED, [], completed=None, error=STOPPED)
    assert await state() == "RUNNING"
    await kept.end("c1", "t2", CANCELLED, [], completed=None, error=STOPPED)
    assert await state() == "IDLE"


async def test_only_a_turn_that_runs_changes_its_state(kept: ConversationStore) -> None:
    """Queued and ended turns are changed by `start` and `end` alone."""
    await queue(kept, "t1")
    with pytest.raises(ValueError, match="other states"):
        await kept.set_state("c1", "t1", COMPLETED)
    with pytest.raises(ValueError, match="does not end"):
        await kept.end("c1", "t1", RUNNING, [], completed=None, error=None)
    with pytest.raises(ValueError, match="not with both"):
        await kept.end("c1", "t1", FAILED, [], completed=DONE, error=BROKEN)
    for call in (
        kept.set_state("c1", "t1", WAITING),
        kept.add_pieces("c1", "t1", [assistant("x")]),
        kept.interrupt("c1", "t1"),
        kept.begin_again("c1", "t1"),
    ):
        with pytest.raises(TurnConflict, match="has not started"):
            await call
    await kept.start("c1", "t1")
    await complete(kept, "t1")
    for call in (
        kept.set_state("c1", "t1", WAITING),
        kept.add_pieces("c1", "t1", [assistant("x")]),
        kept.interrupt("c1", "t1"),
        kept.begin_again("c1", "t1"),
        fail(kept, "t1"),
    ):
        with pytest.raises(TurnConflict, match="has ended"):
            await call


# The end


async def test_the_end_brings_the_whole_output_into_the_history(kept: ConversationStore) -> None:
    """Pieces are gone, the entries carry the turn's id, and the last one how the turn ended."""
    await run(kept, "t1", "2 + 2?", "m1")
    await kept.add_pieces("c1", "t1", [assistant("it")])
    assert await shown(kept) == ["t1:2 + 2?"]
    assert [_said(entry) for entry in await kept.turn_entries("c1", "t1")] == ["2 + 2?", "it"]
    await complete(kept, "t1", HistoryEntry(reasoning_text="hm"), assistant("it is 4"))
    assert await shown(kept) == ["t1:2 + 2?", "t1:hm", "t1:it is 4"]
    assert [entry.HasField("completed") for entry in await entries(kept)] == [False, False, True]
    assert (await entries(kept))[-1].completed == DONE
    assert await kept.turn_entries("c1", "t1") == await entries(kept)
    turn = await found(kept, "t1")
    assert (turn.state, turn.completed, turn.error) == (COMPLETED, DONE, None)
    assert await kept.turns("c1") == [("user", "2 + 2?"), ("assistant", "it is 4")]


async def test_a_reply_without_output_is_shown_as_completed(kept: ConversationStore) -> None:
    """An empty assistant text shows how it ended, and is not given to a model."""
    await run(kept, "t1")
    await complete(kept, "t1")
    last = (await entries(kept))[-1]
    assert (last.WhichOneof("entry"), last.assistant_text) == ("assistant_text", "")
    assert last.completed == DONE
    assert await texts(kept, "c1") == ["hi"]


async def test_an_error_is_the_last_entry(kept: ConversationStore) -> None:
    """What was said before an error stays, and a refused message is not given to a model."""
    await run(kept, "t1", "one")
    await fail(kept, "t1", assistant("part"))
    assert (await entries(kept))[-1].error == BROKEN
    assert (await found(kept, "t1")).error == BROKEN
    refused = ChatError(message="too long", code="INVALID_ARGUMENT")
    await run(kept, "t2", "bad")
    await kept.end("c1", "t2", FAILED, [], completed=None, error=refused)
    assert await texts(kept, "c1") == ["one", "part"]


async def test_an_end_that_starts_no_queued_turn_changes_nothing(kept: ConversationStore) -> None:
    """The end of a turn and the start of the next one are one transaction."""
    await run(kept, "t1")
    with pytest.raises(ValueError, match="empty entry"):
        await complete(kept, "t1", HistoryEntry())
    for name, error in (("no", UnknownTurn), ("t1", TurnConflict)):
        with pytest.raises(error):
            await kept.end(
                "c1", "t1", FAILED, [assistant("x")], completed=None, error=BROKEN, start=name
            )
        assert await shown(kept) == ["t1:hi"]
    assert await shown(kept) == ["t1:hi"]
    assert (await found(kept, "t1")).state == RUNNING


async def test_output_that_begins_again_replaces_the_pieces(kept: ConversationStore) -> None:
    """The turn runs again, and only what is added from then on is kept of it."""
    await run(kept, "t1")
    await kept.add_pieces("c1", "t1", [assistant("half")])
    await kept.set_state("c1", "t1", WAITING)
    await kept.begin_again("c1", "t1")
    assert (await found(kept, "t1")).state == RUNNING
    await kept.add_pieces("c1", "t1", [assistant("whole")])
    await kept.interrupt("c1", "t1")
    assert [entry.assistant_text for entry in await kept.turn_entries("c1", "t1")][1] == "whole"


async def test_an_interrupted_turn_keeps_its_pieces(kept: ConversationStore) -> None:
    """Texts are joined and cut, calls appear once, and an error says why there is no more."""
    await run(kept, "t1")
    old, new = (ToolCallEvent(call_id="1", title=title) for title in ("old", "new"))
    await kept.add_pieces("c1", "t1", [assistant("Hel"), assistant("lo wrong")])
    await kept.add_pieces("c1", "t1", [HistoryEntry(tool_call=old)], keep_text_bytes=5)
    await kept.add_pieces("c1", "t1", [HistoryEntry(tool_call=new), assistant("!")])
    before = await kept.turn_entries("c1", "t1")
    await kept.interrupt("c1", "t1")
    assert await shown(kept) == [
        "t1:hi", "t1:Hello", "t1:tool_call", "t1:!", "t1:tool_result", "t1:error",
    ]  # fmt: skip
    after = await entries(kept)
    assert after[2].tool_call == new
    assert [_said(entry) for entry in before] == [_said(entry) for entry in after[:-2]]
    assert [entry.id for entry in before] == [after[0].id, "", "", ""]
    turn = await found(kept, "t1")
    assert (turn.state, turn.error) == (INTERRUPTED, after[-1].error)
    assert after[-1].error == ChatError(
        code="ABORTED", message="the service ended while the reply was being made"
    )


async def test_what_is_open_in_an_interrupted_turn_is_closed(kept: ConversationStore) -> None:
    """A call without a result gets one that says so, and an open ask is void."""
    await run(kept, "t1")
    calls = [HistoryEntry(tool_call=ToolCallEvent(call_id=one)) for one in "123"]
    result = HistoryEntry(tool_result=ToolResultEvent(call_id="2", output="done"))
    asks = [HistoryEntry(ask=AskEvent(ask_id=one)) for one in ("a", "b")]
    closed = HistoryEntry(ask_closed=AskClosed(ask_id="a", answered=True))
    await kept.add_pieces("c1", "t1", [*calls, result, *asks, closed])
    await kept.interrupt("c1", "t1")
    *_, first, second, void, error = await entries(kept)
    assert [one.tool_result for one in (first, second)] == [
        ToolResultEvent(call_id="1", output=CUT_OFF, is_error=True),
        ToolResultEvent(call_id="3", output=CUT_OFF, is_error=True),
    ]
    assert void.ask_closed == AskClosed(ask_id="b")
    assert error.HasField("error")


async def test_pieces_that_cannot_be_kept_are_refused_at_once(kept: ConversationStore) -> None:
    """An interruption never fails because of what was added before."""
    await run(kept, "t1")
    with pytest.raises(ValueError, match="empty entry"):
        await kept.add_pieces("c1", "t1", [assistant("a"), HistoryEntry()])
    with pytest.raises(ValueError, match="negative"):
        await kept.add_pieces("c1", "t1", [], keep_text_bytes=-1)
    assert len(await kept.turn_entries("c1", "t1")) == 1


# A turn in place of another


async def test_a_replaced_turn_is_gone_with_its_message(kept: ConversationStore) -> None:
    """The entries and the turn go in the transaction that admits the new one."""
    await run(kept, "t1", "one", "m1")
    await complete(kept, "t1", assistant("1"))
    await run(kept, "t2", "two", "m2")
    await fail(kept, "t2", assistant("part"))
    await kept.admit("c1", NewTurn("t3", "two", "m3", replaces="t2", starts=True))
    assert await shown(kept) == ["t1:one", "t1:1", "t3:two"]
    assert await kept.find_turn("c1", turn_id="t2") is None
    assert await kept.find_turn("c1", message_id="m2") is None


async def test_only_the_last_turn_that_did_not_complete_is_replaced(
    kept: ConversationStore,
) -> None:
    """Anything else is a conflict, and nothing is admitted."""

    async def refuse(turn_id: str, match: str) -> None:
        before = await shown(kept)
        with pytest.raises(TurnConflict, match=match):
            await kept.admit("c1", NewTurn("new", "x", replaces=turn_id, starts=True))
        assert await shown(kept) == before
        assert await kept.find_turn("c1", turn_id="new") is None

    await refuse("no", "failed or was stopped")
    await run(kept, "t1")
    await refuse("t1", "failed or was stopped")
    await queue(kept, "t2", "t3")
    await fail(kept, "t1")
    await refuse("t1", "only the last")
    await kept.end("c1", "t2", CANCELLED, [], completed=None, error=STOPPED)
    await kept.start("c1", "t3")
    await fail(kept, "t3")
    await refuse("t1", "only the last")
    await refuse("t2", "only the last")
    await queue(kept, "t4")
    await kept.end("c1", "t4", CANCELLED, [], completed=None, error=STOPPED)
    await kept.admit("c1", NewTurn("t5", "x", replaces="t4", starts=True))
    await complete(kept, "t5")
    await refuse("t5", "failed or was stopped")


async def test_a_turn_cancelled_in_the_queue_does_not_shield_the_one_before(
    kept: ConversationStore,
) -> None:
    """The last turn of the history is replaced although a queued one was cancelled after it."""
    await run(kept, "t1", "one", "m1")
    await queue(kept, "t2")
    await fail(kept, "t1")
    await kept.end("c1", "t2", CANCELLED, [], completed=None, error=STOPPED)
    await kept.admit("c1", NewTurn("t3", "one", "m3", replaces="t1", starts=True))
    assert await shown(kept) == ["t3:one"]


# Entries


async def test_every_kind_of_output_comes_back_as_it_was(
    stores: Stores, kept: ConversationStore
) -> None:
    """Titles, locations, diffs, attachments, asks and completion survive a restart."""
    call = ToolCallEvent(call_id="1", name="edit", title="Edit", kind=ToolKind.TOOL_KIND_EDIT)
    call.locations.add(path="/a", line=3)
    call.arguments.update({"path": "/a"})
    result = ToolResultEvent(call_id="1", output="done")
    result.diffs.add(path="/a", patch="+x")
    ask = AskEvent(ask_id="q", kind=AskEvent.KIND_QUESTION, title="Sure?", options=["yes"])
    ask.choices.add(value="yes", name="Yes", kind=AskOption.KIND_ALLOW_ONCE)
    sent = HistoryEntry(user_text="see", attachments=[Attachment(name="a.png", size=3)])
    output = [
        HistoryEntry(reasoning_text="first"),
        HistoryEntry(tool_call=call),
        HistoryEntry(ask=ask),
        HistoryEntry(ask_closed=AskClosed(ask_id="q", answers=["yes"], answered=True)),
        HistoryEntry(tool_result=result),
        sent,
        HistoryEntry(error=ChatError(message="hm")),
        HistoryEntry(tool_result=ToolResultEvent(call_id="2")),
    ]
    await run(kept, "t1")
    await complete(kept, "t1", *output)
    await kept.close()
    after = list((await (await stores.open()).history("c1")).entries)[1:]
    assert after[-1].completed == DONE
    after[-1].ClearField("completed")
    for entry, given in zip(after, output, strict=True):
        assert entry.turn_id == "t1"
        for name in ("id", "at", "turn_id"):
            entry.ClearField(name)
        assert entry == given


async def test_the_newest_entry_is_one_of_an_ended_turn(kept: ConversationStore) -> None:
    """A snapshot names the entry up to which a client needs no events."""
    assert await kept.newest_entry("c1") == ""
    await run(kept, "t1")
    assert await kept.newest_entry("c1") == ""
    await complete(kept, "t1", assistant("1"))
    last = (await entries(kept))[-1].id
    assert await kept.newest_entry("c1") == last
    await run(kept, "t2")
    assert await kept.newest_entry("c1") == last
    (entry,) = await kept.append("c1", assistant("older service"))
    assert await kept.newest_entry("c1") == entry.id


async def test_a_deleted_conversation_takes_its_turns_along(
    stores: Stores, kept: ConversationStore
) -> None:
    """No row of a turn or a piece is left."""
    await run(kept, "t1")
    await kept.add_pieces("c1", "t1", [assistant("a")])
    await kept.delete("c1")
    with other(stores.path) as raw:
        for table in ("turns", "pieces", "entries"):
            assert raw.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


# Costs


async def test_no_call_reads_a_table_from_end_to_end(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each statement finds its rows by an index, so that a long history costs nothing."""
    said: set[str] = set()

    def note(statement: str) -> None:
        if statement.strip().startswith(("SELECT", "UPDATE", "DELETE")):
            said.add(statement)

    on_connect(monkeypatch, lambda connection: connection.set_trace_callback(note))
    store = await stores.open()
    said.clear()
    await store.create("", "k")
    await run(store, "t1", "hi")
    await queue(store, "t2", "t3")
    await store.update_queued("c1", "t3", place=1)
    await store.add_pieces("c1", "t1", [assistant("a")])
    await store.set_state("c1", "t1", WAITING)
    await store.turn_entries("c1", "t1")
    await store.find_turn("c1", message_id="m")
    await store.conversations_with_open_turns()
    await store.open_states()
    await store.newest_entry("c1")
    await store.begin_again("c1", "t1")
    await store.end("c1", "t1", FAILED, [], completed=None, error=BROKEN, start="t2")
    await store.interrupt("c1", "t2")
    await store.end("c1", "t3", CANCELLED, [], completed=None, error=STOPPED)
    await store.admit("c1", NewTurn("t4", "text of t2", replaces="t2", starts=True))
    await listed(store)
    await store.get("c1")
    await store.history("c1")
    await store.turns("c1")
    await store.delete("c1")
    monkeypatch.undo()
    assert len(said) > 30
    scans = set()
    with other(stores.path) as raw:
        for statement in said:
            for row in raw.execute(f"EXPLAIN QUERY PLAN {statement}"):
                if row[3].startswith(("SCAN", "USE TEMP B-TREE")) and "subquery" not in row[3]:
                    scans.add(row[3])
    assert scans <= {
        "SCAN run",  # one row
        "SCAN turns USING COVERING INDEX turns_open",  # the open turns alone
        "SCAN sqlite_sequence",  # two rows
    }, scans
