"""Holds the current conversation: created with the first message, or continued."""

from collections.abc import Container
from contextlib import aclosing
from typing import Final
from uuid import uuid4

from callboard.v1.chat_pb2 import CreateSessionRequest, HistoryEntry, SessionInfo
from callboard_service.terminal.memory import Memory
from callboard_service.terminal.pages import conversations, newest_entries
from transport.client import Client

RECALLED: Final = 4
"""Entries of the history that are shown when a conversation is continued."""


class Conversation:
    """The current conversation, independent of a connection. id: empty until it is created.

    directory: in which the agents of new ones work; empty: the backend's own.

    Methods with a client raise RequestFailed if the service refuses (or its subclass SessionLost if
    the session was lost), and ConnectionClosed if the connection is lost for good.
    """

    def __init__(self, memory: Memory, directory: str = "") -> None:
        self.id: str = ""
        self._memory = memory
        self._directory = directory
        self._create_id = str(uuid4())

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
            self.enter(client, chosen)
        return chosen

    async def recall(
        self, client: Client, without: Container[str] = frozenset()
    ) -> list[HistoryEntry]:
        """Return the last few entries, oldest first. without: ids of turns to leave out."""
        # The history has one entry of a turn that is open: its message.
        entries = await newest_entries(client, self.id, RECALLED + 1)
        return [entry for entry in entries if entry.turn_id not in without][-RECALLED:]

    async def ensure(self, client: Client) -> str:
        """Return its id, after creating it if necessary. May be repeated after SessionLost."""
        if not self.id:
            request = CreateSessionRequest(create_id=self._create_id, directory=self._directory)
            self.id = (await client.call(request, SessionInfo)).id
            self._memory.remember(client.welcome.backend, self.id)
        return self.id

    def enter(self, client: Client, info: SessionInfo) -> None:
        """Continue this conversation instead."""
        self.id = info.id
        self._memory.remember(client.welcome.backend, self.id)

    def forget(self) -> None:
        """Leave it: the next message creates a new one."""
        self.id, self._create_id = "", str(uuid4())
