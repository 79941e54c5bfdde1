"""The conversation that messages go to: conversation.py."""

from pathlib import Path

import pytest
from google.protobuf.message import Message

from actors.protocol.failure import Code
from callboard.v1.chat_pb2 import ChatError, History, HistoryEntry, SessionInfo, SessionList
from callboard.v1.envelope_pb2 import ClientMessage
from callboard_service.terminal.conversation import Conversation
from callboard_service.terminal.memory import Memory
from tests.support.scripted_websocket import ScriptedDialer
from transport.client import Client, by_url
from transport.errors import RequestFailed


class Shelf:
    """A fake service with these conversations, newest first, and a client of it."""

    def __init__(self, *ids: str, fails: bool = False) -> None:
        self.ids = list(ids)
        self.fails = fails
        self.created: list[str] = []
        self.entries: list[HistoryEntry] = []
        dialer = ScriptedDialer(self.respond)
        self.client = Client(by_url("ws://shelf", ""), dialer=dialer)

    def respond(self, message: ClientMessage) -> Message:
        match message.WhichOneof("payload"):
            case "list_sessions":
                return SessionList(sessions=[SessionInfo(id=name) for name in self.ids])
            case "get_history" if self.entries:
                limit = message.get_history.limit
                return History(entries=self.entries[-limit:], more=len(self.entries) > limit)
            case "create_session":
                self.created.append(message.create_session.create_id)
                if self.fails:
                    return ChatError(code="UNAVAILABLE")
                self.ids.insert(0, f"new-{len(self.ids)}")
                return SessionInfo(id=self.ids[0])
            case _:
                return ChatError(code="UNAVAILABLE")

    async def __aenter__(self) -> Client:
        return await self.client.__aenter__()

    async def __aexit__(self, *_: object) -> None:
        await self.client.aclose()


async def test_a_conversation_is_made_with_the_first_message(tmp_path: Path) -> None:
    """It is created once, and remembered as the last one."""
    shelf = Shelf("old")
    async with shelf as client:
        conversation = Conversation(Memory(tmp_path))
        assert shelf.ids == ["old"]
        assert await conversation.ensure(client) == "new-1"
        assert await conversation.ensure(client) == "new-1"
        assert Memory(tmp_path).last("fake") == "new-1"


async def test_creating_it_may_be_repeated(tmp_path: Path) -> None:
    """A conversation is created with the same create_id until it exists, and then another."""
    shelf = Shelf(fails=True)
    async with shelf as client:
        conversation = Conversation(Memory(tmp_path))
        with pytest.raises(RequestFailed):
            await conversation.ensure(client)
        shelf.fails = False
        await conversation.ensure(client)
        conversation.forget()
        await conversation.ensure(client)
    assert shelf.created[0]
    assert shelf.created[0] == shelf.created[1] != shelf.created[2]


@pytest.mark.parametrize(("last", "taken"), [("b", "b"), ("deleted", "a")])
async def test_the_last_one_is_taken_up_else_the_newest(
    tmp_path: Path, last: str, taken: str
) -> None:
    Memory(tmp_path).remember("fake", last)
    shelf = Shelf("a", "b", "c")
    async with shelf as client:
        conversation = Conversation(Memory(tmp_path))
        info = await conversation.take_up(client)
        assert info is not None
        assert info.id == taken
        assert await conversation.ensure(client) == taken
        assert Memory(tmp_path).last("fake") == taken


async def test_without_a_conversation_a_new_one_starts(tmp_path: Path) -> None:
    """If there is nothing to continue, the first message creates a conversation."""
    async with Shelf() as client:
        conversation = Conversation(Memory(tmp_path))
        assert await conversation.take_up(client) is None
        assert await conversation.ensure(client) == "new-0"


async def test_turns_that_are_open_are_not_recalled(tmp_path: Path) -> None:
    """The last entries are returned without those of turns that are shown otherwise."""
    shelf = Shelf("a")
    shelf.entries = [HistoryEntry(id=f"{n}", turn_id=f"{n // 2}") for n in range(7)]
    async with shelf as client:
        conversation = Conversation(Memory(tmp_path))
        await conversation.take_up(client)
        recalled = await conversation.recall(client, without={"3"})
    assert [entry.id for entry in recalled] == ["2", "3", "4", "5"]


async def test_a_refusal_carries_the_error(tmp_path: Path) -> None:
    async with Shelf() as client:
        with pytest.raises(RequestFailed) as refused:
            await Conversation(Memory(tmp_path)).recall(client)
        assert refused.value.code is Code.UNAVAILABLE
