"""The conversation that messages go to (conversation.py), and the echo of keys (keyboard.py)."""

import io
import os
import sys
from pathlib import Path

import pytest
from google.protobuf.message import Message

from actors.protocol.failure import Code
from callboard.v1.chat_pb2 import ChatCompleted, ChatError, SessionInfo, SessionList
from callboard.v1.envelope_pb2 import ClientMessage
from callboard.v1.session_pb2 import Limits
from callboard_service.terminal.conversation import Conversation
from callboard_service.terminal.keyboard import unseen
from callboard_service.terminal.memory import Memory
from tests.support.scripted_websocket import ScriptedDialer
from transport.client import Client, by_url
from transport.errors import RequestFailed


class Shelf:
    """A fake service with these conversations, newest first, and a client of it."""

    def __init__(self, *ids: str, limits: Limits | None = None) -> None:
        self.ids = list(ids)
        self.said: list[str] = []
        dialer = ScriptedDialer(self.respond, limits)
        self.client = Client(by_url("ws://shelf", ""), dialer=dialer)

    def respond(self, message: ClientMessage) -> Message:
        match message.WhichOneof("payload"):
            case "list_sessions":
                return SessionList(sessions=[SessionInfo(id=name) for name in self.ids])
            case "create_session":
                self.ids.insert(0, f"new-{len(self.ids)}")
                return SessionInfo(id=self.ids[0])
            case "send_message":
                self.said.append(message.send_message.session_id)
                return ChatCompleted()
            case _:
                return ChatError(code="UNAVAILABLE")

    async def __aenter__(self) -> Client:
        return await self.client.__aenter__()

    async def __aexit__(self, *_: object) -> None:
        await self.client.aclose()


async def say(conversation: Conversation, client: Client, text: str) -> None:
    """Send a message, and wait for the end of its reply."""
    async for _ in await conversation.say(client, text):
        pass


async def test_a_conversation_is_made_with_the_first_message(tmp_path: Path) -> None:
    shelf = Shelf("old")
    async with shelf as client:
        conversation = Conversation(Memory(tmp_path))
        assert shelf.ids == ["old"]
        await say(conversation, client, "one")
        await say(conversation, client, "two")
        assert shelf.said == ["new-1", "new-1"]
        assert Memory(tmp_path).last("fake") == "new-1"


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
        await say(conversation, client, "on")
        assert shelf.said == [taken]


async def test_without_a_conversation_a_new_one_starts(tmp_path: Path) -> None:
    shelf = Shelf()
    async with shelf as client:
        conversation = Conversation(Memory(tmp_path))
        assert await conversation.take_up(client) is None
        assert not await conversation.is_gone(client)
        await say(conversation, client, "one")
        assert shelf.said == ["new-0"]


async def test_a_deleted_conversation_is_replaced(tmp_path: Path) -> None:
    shelf = Shelf("a")
    async with shelf as client:
        conversation = Conversation(Memory(tmp_path))
        await conversation.take_up(client)
        assert not await conversation.is_gone(client)
        shelf.ids.clear()
        assert await conversation.is_gone(client)
        await say(conversation, client, "one")
        assert shelf.said == ["new-0"]


async def test_a_refusal_carries_the_error(tmp_path: Path) -> None:
    async with Shelf() as client:
        with pytest.raises(RequestFailed) as refused:
            await Conversation(Memory(tmp_path)).recall(client)
        assert refused.value.code is Code.UNAVAILABLE


async def test_a_message_over_the_limit_is_not_sent(tmp_path: Path) -> None:
    shelf = Shelf(limits=Limits(max_message_bytes=2000))
    conversation = Conversation(Memory(tmp_path))
    async with shelf as client:
        with pytest.raises(RequestFailed, match="too long"):
            await say(conversation, client, "ü" * 1000)
        await say(conversation, client, "ü" * 500)
    assert len(shelf.said) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no termios")
def test_the_keyboard_is_not_echoed_meanwhile() -> None:
    import termios

    master, slave = os.openpty()
    with os.fdopen(master, "rb"), os.fdopen(slave) as terminal:

        def echoes() -> bool:
            return bool(termios.tcgetattr(slave)[3] & termios.ECHO)

        assert echoes()
        with unseen(terminal):
            assert not echoes()
        assert echoes()


def test_what_is_no_terminal_is_left_alone() -> None:
    entered = []
    with Path(os.devnull).open() as nowhere, unseen(io.StringIO()), unseen(nowhere):
        entered.append(True)
    assert entered == [True]
