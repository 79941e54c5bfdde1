"""The conversation that is talked in: made with the first message, or taken up."""

from typing import Final

from google.protobuf.message import Message

from callboard.v1.chat_pb2 import (
    ChatError,
    CreateSessionRequest,
    GetHistoryRequest,
    HistoryEntry,
    ListSessionsRequest,
    SendMessageRequest,
    SessionInfo,
)
from callboard.v1.envelope_pb2 import ServerMessage
from callboard_service.terminal.errors import Refused
from callboard_service.terminal.memory import Memory
from transport.client import Answers, Client

RECALLED: Final = 4
"""Entries of the history that are shown when a conversation is taken up."""

_AROUND: Final = 256
"""Bytes of a frame beside the text: more than the ids and the envelope take."""


class Conversation:
    """One conversation, on whatever connection there is. No id: none was made yet.

    Each request raises Refused if the service says no, ConnectionClosed if it is lost.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._id = ""

    async def take_up(self, client: Client) -> SessionInfo | None:
        """Go on with the last one that was talked in, else with the newest, if there is any."""
        sessions = await self._list(client)
        if not sessions:
            return None
        last = self._memory.last(client.welcome.backend)
        chosen = next((info for info in sessions if info.id == last), sessions[0])
        self._id = chosen.id
        return chosen

    async def recall(self, client: Client) -> list[HistoryEntry]:
        """The last few entries, oldest first."""
        request = GetHistoryRequest(session_id=self._id, limit=RECALLED)
        return list((await _call(client, request)).history.entries)

    async def say(self, client: Client, text: str) -> Answers:
        """Send a message; the conversation is made if there is none. The reply streams."""
        _check_size(client, text)
        if not self._id:
            made = await _call(client, CreateSessionRequest())
            self._id = made.session_info.id
        self._memory.remember(client.welcome.backend, self._id)
        return await client.request(SendMessageRequest(session_id=self._id, text=text))

    async def is_gone(self, client: Client) -> bool:
        """The service does not know the conversation any more; if so the next one is new."""
        if self._id and all(info.id != self._id for info in await self._list(client)):
            self._id = ""
            return True
        return False

    async def _list(self, client: Client) -> list[SessionInfo]:
        return list((await _call(client, ListSessionsRequest())).session_list.sessions)


def _check_size(client: Client, text: str) -> None:
    """Refuse here what would cost the connection."""
    size = len(text.encode()) + _AROUND
    limit = client.welcome.limits.max_message_bytes
    if limit and size > limit:
        message = f"the message is too long: {size} bytes, and the service takes {limit}"
        raise Refused(ChatError(code="INVALID_ARGUMENT", message=message))


async def _call(client: Client, request: Message) -> ServerMessage:
    answer = await client.call(request)
    if answer.WhichOneof("payload") == "error":
        raise Refused(answer.error)
    return answer
