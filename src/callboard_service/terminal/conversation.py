"""The conversation that is talked in: made with the first message, or taken up."""

from contextlib import aclosing
from typing import Final, TypeAlias

from callboard.v1.chat_pb2 import (
    AskClosed,
    AskEvent,
    ChatCompleted,
    ChatNotice,
    ChatToken,
    CreateSessionRequest,
    HistoryEntry,
    ReasoningToken,
    SendMessageRequest,
    SessionInfo,
    ToolCallEvent,
    ToolResultEvent,
)
from callboard_service.terminal.memory import Memory
from callboard_service.terminal.pages import conversations, newest_entries
from transport.client import Client
from transport.client.stream import Stream

Answer: TypeAlias = (
    ChatToken
    | ReasoningToken
    | ToolCallEvent
    | ToolResultEvent
    | ChatNotice
    | AskEvent
    | AskClosed
    | ChatCompleted
)
"""What a reply consists of."""

RECALLED: Final = 4
"""Entries of the history that are shown when a conversation is taken up."""


class Conversation:
    """One conversation, on whatever connection there is. No id: none was made yet.

    Each request raises RequestFailed if the service says no (SessionLost, one of them, if it was
    lost), ConnectionClosed if there is no service any more.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._id = ""

    async def take_up(self, client: Client) -> SessionInfo | None:
        """Go on with the last one that was talked in, else with the newest, if there is any."""
        last = self._memory.last(client.welcome.backend)
        chosen: SessionInfo | None = None
        async with aclosing(conversations(client)) as found:
            async for info in found:
                if chosen is None or info.id == last:
                    chosen = info
                if last is None or info.id == last:
                    break
        if chosen is not None:
            self._id = chosen.id
        return chosen

    async def recall(self, client: Client) -> list[HistoryEntry]:
        """The last few entries, oldest first."""
        return await newest_entries(client, self._id, RECALLED)

    async def say(self, client: Client, text: str) -> Stream[Answer]:
        """Send a message; the conversation is made if there is none. The reply streams."""
        if not self._id:
            self._id = (await client.call(CreateSessionRequest(), SessionInfo)).id
        self._memory.remember(client.welcome.backend, self._id)
        return client.stream(
            SendMessageRequest(session_id=self._id, text=text),
            ChatToken, ReasoningToken, ToolCallEvent, ToolResultEvent,
            ChatNotice, AskEvent, AskClosed, ChatCompleted,
        )  # fmt: skip

    async def is_gone(self, client: Client) -> bool:
        """The service does not know the conversation any more; if so the next one is new."""
        if not self._id:
            return False
        async with aclosing(conversations(client)) as found:
            async for info in found:
                if info.id == self._id:
                    return False
        self._id = ""
        return True
