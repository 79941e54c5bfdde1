"""Which conversation is talked in, and the keyboard meanwhile: conversation.py, keyboard.py."""

import io
import os
import sys
from pathlib import Path

import pytest
from google.protobuf.message import Message

from callboard.v1.chat_pb2 import (
    ChatError,
    CreateSessionRequest,
    ListSessionsRequest,
    SendMessageRequest,
    SessionInfo,
    SessionList,
)
from callboard.v1.envelope_pb2 import ServerMessage
from callboard_service.terminal.conversation import Conversation
from callboard_service.terminal.errors import Refused
from callboard_service.terminal.keyboard import unseen
from callboard_service.terminal.memory import Memory
from transport.client import Answers, Client


class Shelf(Client):
    """A client of a service that has these conversations, newest first."""

    def __init__(self, *ids: str) -> None:
        super().__init__("ws://nowhere", "")
        self.welcome.backend = "fake"
        self.ids = list(ids)
        self.said: list[str] = []

    async def call(self, message: Message, *, timeout_ms: int = 0) -> ServerMessage:
        if isinstance(message, ListSessionsRequest):
            listed = SessionList(sessions=[SessionInfo(id=name) for name in self.ids])
            return ServerMessage(session_list=listed)
        if isinstance(message, CreateSessionRequest):
            self.ids.insert(0, f"new-{len(self.ids)}")
            return ServerMessage(session_info=SessionInfo(id=self.ids[0]))
        return ServerMessage(error=ChatError(code="UNAVAILABLE"))

    async def request(self, message: Message, *, timeout_ms: int = 0) -> Answers:
        assert isinstance(message, SendMessageRequest)
        self.said.append(message.session_id)
        return Answers(self, 1)


async def test_a_conversation_is_made_with_the_first_message(tmp_path: Path) -> None:
    shelf = Shelf("old")
    conversation = Conversation(Memory(tmp_path))
    assert shelf.ids == ["old"]
    await conversation.say(shelf, "one")
    await conversation.say(shelf, "two")
    assert shelf.said == ["new-1", "new-1"]
    assert Memory(tmp_path).last("fake") == "new-1"


@pytest.mark.parametrize(("last", "taken"), [("b", "b"), ("deleted", "a")])
async def test_the_last_one_is_taken_up_else_the_newest(
    tmp_path: Path, last: str, taken: str
) -> None:
    Memory(tmp_path).remember("fake", last)
    shelf = Shelf("a", "b", "c")
    conversation = Conversation(Memory(tmp_path))
    info = await conversation.take_up(shelf)
    assert info is not None
    assert info.id == taken
    await conversation.say(shelf, "on")
    assert shelf.said == [taken]


async def test_where_there_is_none_a_new_one_starts(tmp_path: Path) -> None:
    shelf = Shelf()
    conversation = Conversation(Memory(tmp_path))
    assert await conversation.take_up(shelf) is None
    assert not await conversation.is_gone(shelf)
    await conversation.say(shelf, "one")
    assert shelf.said == ["new-0"]


async def test_one_that_is_gone_is_replaced(tmp_path: Path) -> None:
    shelf = Shelf("a")
    conversation = Conversation(Memory(tmp_path))
    await conversation.take_up(shelf)
    assert not await conversation.is_gone(shelf)
    shelf.ids.clear()
    assert await conversation.is_gone(shelf)
    await conversation.say(shelf, "one")
    assert shelf.said == ["new-0"]


async def test_a_refusal_carries_the_error(tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        await Conversation(Memory(tmp_path)).recall(Shelf())
    assert refused.value.error.code == "UNAVAILABLE"


async def test_a_message_over_the_limit_is_not_sent(tmp_path: Path) -> None:
    shelf = Shelf()
    shelf.welcome.limits.max_message_bytes = 2000
    conversation = Conversation(Memory(tmp_path))
    with pytest.raises(Refused, match="too long"):
        await conversation.say(shelf, "ü" * 1000)
    await conversation.say(shelf, "ü" * 500)
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
