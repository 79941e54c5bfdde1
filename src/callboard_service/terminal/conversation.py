"""Holds the current conversation: created with the first message, or continued."""

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
"""The messages that a reply consists of."""

RECALLED: Final = 4
"""Entries of the history that are shown when a conversation is continued."""


class Conversation:
    """The current conversation, independent of a connection. Its id is empty until it is created.

    Methods with a client raise RequestFailed if the service refuses (or its subclass SessionLost if
    the session was lost), and ConnectionClosed if the connection is lost for good.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._id = ""

    async def take_up(self, client: Client) -> SessionInfo | None:
        """Continue the conversation used last, or else the newest; return it, or None if none."""
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
        """Return the last few entries, oldest first."""
        return await newest_entries(client, self._id, RECALLED)

    async def say(self, client: Client, text: str) -> Stream[Answer]:
        """Send a message, creating the conversation if needed; return the stream of the reply."""
        if not self._id:
            self._id = (await client.call(CreateSessionRequest(), SessionInfo)).id
        self._memory.remember(client.welcome.backend, self._id)
        return client.stream(
            SendMessageRequest(session_id=self._id, text=text),
            ChatToken, ReasoningToken, ToolCallEvent, ToolResultEvent,
            ChatNotice, AskEvent, AskClosed, ChatCompleted,
        )  # fmt: skip

    async def is_gone(self, client: Client) -> bool:
        """Return whether the service no longer has the conversation.

        If so, the next message creates a new one. False if none was created yet.
        """
        if not self._id:
            return False
        async with aclosing(conversations(client)) as found:
            async for info in found:
                if info.id == self._id:
                    return False
        self._id = ""
        return True
