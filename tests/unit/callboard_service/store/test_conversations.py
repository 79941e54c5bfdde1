"""Conversations are renamed, archived, forked and searched."""

import pytest

from callboard.v1.chat_pb2 import (
    Attachment,
    ChatCompleted,
    ConversationState,
    HistoryEntry,
    SessionInfo,
    TurnState,
    UsageEvent,
)
from callboard_service.store import conversations
from callboard_service.store.store import (
    ConversationStore,
    NewTurn,
    TurnConflict,
    UnknownConversation,
    UnknownEntry,
)
from tests.support.store_kit import Stores, assistant, user

COMPLETED = TurnState.TURN_STATE_COMPLETED


async def found(store: ConversationStore, search: str, *, archived: bool = False) -> list[str]:
    """Return the ids of the conversations that a search finds, newest first."""
    page = await store.conversations(search=search, archived=archived)
    return [info.id for info in page.sessions]


async def talk(store: ConversationStore, *turns: str) -> SessionInfo:
    """Return a conversation of ended turns, each a message "TEXT" and the reply "re TEXT"."""
    info = await store.create("talk")
    for number, text in enumerate(turns, start=1):
        turn = NewTurn(f"t{number}", text, f"m{number}", starts=True)
        await store.admit(info.id, turn)
        await store.end(
            info.id, turn.id, COMPLETED, [assistant(f"re {text}")],
            completed=ChatCompleted(output_tokens=number), error=None,
        )  # fmt: skip
    return info


async def texts(store: ConversationStore, conversation: str) -> list[str]:
    entries = (await store.history(conversation)).entries
    return [entry.user_text or entry.assistant_text for entry in entries]


# Rename and archive


async def test_a_title_and_a_state_are_changed_and_the_place_in_the_list_is_kept(
    stores: Stores, store: ConversationStore
) -> None:
    first, second = await store.create("a"), await store.create("b")
    stores.clock.pass_seconds(5)
    changed = await store.update(first.id, title="c")
    assert (changed.title, changed.archived) == ("c", False)
    assert changed.updated_at == first.updated_at
    assert (await store.update(first.id, archived=True)).title == "c"
    assert await found(store, "") == [second.id]
    assert await found(store, "", archived=True) == [second.id, first.id]
    assert not (await store.update(first.id, archived=False)).archived
    with pytest.raises(UnknownConversation):
        await store.update("no", title="x")


async def test_a_title_that_was_cleared_is_set_by_the_next_message(
    store: ConversationStore,
) -> None:
    info = await store.create("a")
    assert (await store.update(info.id, title=" ")).title == ""
    await store.append(info.id, user("What now?"))
    assert (await store.get(info.id)).title == "What now?"


async def test_pages_of_archived_conversations_continue(store: ConversationStore) -> None:
    made = [(await store.create(name)).id for name in "abcd"]
    for name in made[::2]:
        await store.update(name, archived=True)
    page = await store.conversations(1)
    assert [info.id for info in page.sessions] == [made[3]]
    page = await store.conversations(1, page.next_page)
    assert ([info.id for info in page.sessions], page.next_page) == ([made[1]], "")
    page = await store.conversations(3, archived=True)
    page = await store.conversations(3, page.next_page, archived=True)
    assert [info.id for info in page.sessions] == [made[0]]


# Search


async def test_a_search_finds_titles_and_texts_whatever_their_case(
    store: ConversationStore,
) -> None:
    first, second = await store.create("Äpfel and Birnen"), await store.create("b")
    await store.append(second.id, user("Grüße from ÖSTERREICH"), assistant('so-called "TEXT"'))
    assert await found(store, "äPFEL") == [first.id]
    assert await found(store, "österreich") == [second.id]
    assert await found(store, 'd "text') == [second.id]
    assert await found(store, "fel and bir") == [first.id]
    assert await found(store, "nothing") == []
    assert await found(store, "%") == []
    assert await found(store, "*") == []


async def test_a_short_search_finds_titles_only(store: ConversationStore) -> None:
    first, second = await store.create("Ox"), await store.create("b")
    await store.append(second.id, user("an ox"))
    assert await found(store, "oX") == [first.id]
    assert await found(store, " ox") == [second.id]


async def test_a_search_finds_what_was_said_last_and_nothing_that_was_deleted(
    store: ConversationStore,
) -> None:
    info, other = await talk(store, "the first"), await talk(store, "the first")
    assert await found(store, "re the") == [other.id, info.id]
    await store.append(info.id, user("the second"))
    assert await found(store, "second") == [info.id]
    await store.delete(info.id)
    assert await found(store, "re the") == [other.id]
    assert await found(store, "second") == []
    await store.probe()


async def test_the_index_of_many_entries_is_made_in_parts(
    store: ConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversations, "INDEXED_AT_ONCE", 2)
    info = await talk(store, "one", "two", "three")
    assert await store.index_some()
    assert await found(store, "re three") == [info.id]
    assert not await store.index_some()


async def test_what_a_tool_says_is_not_searched(store: ConversationStore) -> None:
    info = await store.create("a")
    await store.append(info.id, HistoryEntry(reasoning_text="secret thought"))
    assert await found(store, "secret") == []


async def test_a_search_goes_on_at_a_page_and_leaves_out_archived_ones(
    store: ConversationStore,
) -> None:
    made = [(await store.create(f"same {number}")).id for number in range(4)]
    await store.update(made[1], archived=True)
    page = await store.conversations(2, search="same")
    assert [info.id for info in page.sessions] == [made[3], made[2]]
    page = await store.conversations(2, page.next_page, search="same")
    assert [info.id for info in page.sessions] == [made[0]]


# Forks


async def test_a_fork_has_the_turns_before_an_entry(store: ConversationStore) -> None:
    info = await talk(store, "one", "two", "three")
    entries = (await store.history(info.id)).entries
    copy = await store.fork(info.id, entries[4].id)
    assert (copy.parent_id, copy.title) == (info.id, "talk")
    assert copy.id != info.id
    assert await texts(store, copy.id) == ["one", "re one", "two", "re two"]
    assert await texts(store, info.id) == ["one", "re one", "two", "re two", "three", "re three"]
    copied = (await store.history(copy.id)).entries
    assert [entry.turn_id for entry in copied] == ["t1", "t1", "t2", "t2"]
    assert [entry.at for entry in copied] == [entry.at for entry in entries[:4]]
    assert {entry.id for entry in copied}.isdisjoint(entry.id for entry in entries)
    assert copied[3].completed.output_tokens == 2
    turn = await store.find_turn(copy.id, turn_id="t2")
    assert turn is not None
    assert (turn.message_id, turn.state, turn.text) == ("", COMPLETED, "two")
    assert await store.find_turn(copy.id, message_id="m2") is None
    assert await store.find_turn(copy.id, turn_id="t3") is None


async def test_a_fork_of_all_has_no_open_turn(store: ConversationStore) -> None:
    info = await talk(store, "one")
    await store.admit(info.id, NewTurn("t2", "two", starts=True))
    await store.admit(info.id, NewTurn("t3", "three", starts=False))
    copy = await store.fork(info.id, title="copy")
    assert (copy.title, copy.state) == ("copy", ConversationState.CONVERSATION_STATE_IDLE)
    assert await texts(store, copy.id) == ["one", "re one"]


async def test_a_fork_begins_before_the_message_of_a_turn_only(store: ConversationStore) -> None:
    info, other = await talk(store, "one", "two"), await talk(store, "else")
    entries = (await store.history(info.id)).entries
    foreign = (await store.history(other.id)).entries[0].id
    for wrong in (entries[1].id, foreign, "0", "x"):
        with pytest.raises(UnknownEntry):
            await store.fork(info.id, wrong)
    assert await texts(store, (await store.fork(info.id, entries[0].id)).id) == []
    with pytest.raises(UnknownConversation):
        await store.fork("no")


async def test_a_fork_that_is_asked_for_again_is_the_same(store: ConversationStore) -> None:
    info = await talk(store, "one")
    first = await store.fork(info.id, create_id="k")
    assert await store.fork(info.id, create_id="k") == first
    assert len((await store.conversations()).sessions) == 2


async def test_forks_outlive_their_parent_and_are_found(store: ConversationStore) -> None:
    info = await talk(store, "one")
    copy = await store.fork(info.id)
    await store.delete(info.id)
    assert await texts(store, copy.id) == ["one", "re one"]
    assert await found(store, "re one") == [copy.id]
    assert (await store.get(copy.id)).parent_id == info.id


# Choices, usage, messages handed over


async def test_choices_are_kept_and_copied_to_a_fork(store: ConversationStore) -> None:
    info = await store.create("a")
    assert await store.choices(info.id) == {}
    await store.choose(info.id, "model", "big")
    await store.choose(info.id, "mode", "plan")
    await store.choose(info.id, "mode", "")
    assert await store.choices(info.id) == {"model": "big"}
    assert await store.choices((await store.fork(info.id)).id) == {"model": "big"}


async def test_the_latest_usage_is_kept(store: ConversationStore) -> None:
    info = await talk(store, "one")
    assert await store.usage(info.id) is None
    await store.admit(info.id, NewTurn("t", "two", starts=True))
    await store.end(
        info.id, "t", COMPLETED, [], completed=ChatCompleted(), error=None,
        usage=UsageEvent(context_used=7),
    )  # fmt: skip
    latest = await store.usage(info.id)
    assert latest is not None
    assert latest.context_used == 7


async def test_a_message_that_was_handed_over_belongs_to_the_running_turn(
    store: ConversationStore,
) -> None:
    info = await talk(store)
    await store.admit(info.id, NewTurn("t1", "one", "m1", starts=True))
    await store.admit(info.id, NewTurn("t2", "wait", "m2", starts=False, place=1))
    await store.hand_over(info.id, "t2", "t1", HistoryEntry(user_text="wait"))
    assert [turn.id for turn in await store.open_turns(info.id)] == ["t1"]
    turn = await store.find_turn(info.id, message_id="m2")
    assert turn is not None
    assert turn.id == "t1"
    repeated = await store.admit(info.id, NewTurn("t3", "wait", "m2", starts=False))
    assert (repeated.repeated, repeated.turn.id) == (True, "t1")
    with pytest.raises(TurnConflict):
        await store.hand_over(info.id, "t1", "t1", HistoryEntry(user_text="x"))
    await store.interrupt(info.id, "t1")
    assert await texts(store, info.id) == ["one", "wait", ""]
    entry = (await store.history(info.id)).entries[1]
    with pytest.raises(UnknownEntry):
        await store.fork(info.id, entry.id)


async def test_the_attachments_of_a_message_are_in_its_turn_and_its_entry(
    store: ConversationStore,
) -> None:
    info = await store.create("a")
    attached = (Attachment(id="x", name="a.png", media_type="image/png", size=3),)
    turn = NewTurn("t1", "look", "m", starts=False, attachments=attached)
    assert (await store.admit(info.id, turn)).turn.attachments == attached
    await store.start(info.id, "t1")
    assert (await store.history(info.id)).entries[0].attachments == list(attached)
    (opened,) = await store.open_turns(info.id)
    assert opened.attachments == attached
