"""The turns that a model is given, and the entries that a repeated message replaces."""

from callboard.v1.chat_pb2 import ChatError, HistoryEntry, ToolCallEvent
from callboard_service.store.histories import RecentTurns, Turn
from callboard_service.store.store import ConversationStore
from tests.support.store_kit import Stores


def user(text: str) -> HistoryEntry:
    return HistoryEntry(user_text=text)


def said(text: str) -> HistoryEntry:
    return HistoryEntry(assistant_text=text)


def error(code: str) -> HistoryEntry:
    return HistoryEntry(error=ChatError(code=code))


async def opened(stores: Stores) -> tuple[ConversationStore, str]:
    store = await stores.open()
    return store, (await store.create("")).id


async def kinds(store: ConversationStore, name: str) -> list[str]:
    history = await store.history(name)
    return [entry.user_text or entry.WhichOneof("entry") or "" for entry in history.entries]


async def test_a_refused_message_is_not_among_the_turns(stores: Stores) -> None:
    store, name = await opened(stores)
    await store.append(name, user("one"), said("1"), user("bad"), error("INVALID_ARGUMENT"))
    await store.append(name, user("two"), said("part"), error("INVALID_ARGUMENT"))
    await store.append(name, user("three"), error("UNAVAILABLE"), user("four"), error("CANCELLED"))
    turns = [text for _, text in await store.turns(name)]
    assert turns == ["one", "1", "two", "part", "three", "four"]


async def test_two_refused_messages_in_a_row(stores: Stores) -> None:
    store, name = await opened(stores)
    await store.append(name, user("a"), error("INVALID_ARGUMENT"))
    await store.append(name, user("b"), error("INVALID_ARGUMENT"), user("c"))
    assert [text for _, text in await store.turns(name)] == ["c"]


async def test_a_repeat_replaces_what_had_no_answer(stores: Stores) -> None:
    store, name = await opened(stores)
    await store.append(name, user("a"), said("1"), user("b"), error("UNAVAILABLE"))
    await store.append(name, user("b"))
    assert await kinds(store, name) == ["a", "assistant_text", "b"]
    await store.append(name, user("c"))
    await store.append(name, user("b"))
    assert await kinds(store, name) == ["a", "assistant_text", "b", "c", "b"]


async def test_what_was_answered_in_any_way_is_not_replaced(stores: Stores) -> None:
    store, name = await opened(stores)
    for answer in (said("1"), HistoryEntry(tool_call=ToolCallEvent(name="t"))):
        await store.append(name, user("a"), answer)
        await store.append(name, user("a"))
        assert (await kinds(store, name))[-3:][0] == "a"
        await store.append(name, said("end"))
    assert (await kinds(store, name)).count("a") == 4


async def test_another_conversation_is_left_alone(stores: Stores) -> None:
    store, name = await opened(stores)
    other = (await store.create("")).id
    await store.append(other, user("a"))
    await store.append(name, user("a"))
    assert await kinds(store, other) == await kinds(store, name) == ["a"]


def test_adjacent_turns_of_one_role_are_joined() -> None:
    turns: list[Turn] = [("user", "a"), ("user", "b"), ("assistant", "c"), ("user", "d")]
    assert RecentTurns(turns, 0).joined() == [
        ("user", "a\n\nb"), ("assistant", "c"), ("user", "d")
    ]  # fmt: skip
    assert RecentTurns([], 0).joined() == []
