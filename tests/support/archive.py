"""Conversations that are served in pages, as the contract defines them."""

from google.protobuf.message import Message

from callboard.v1.chat_pb2 import (
    ChatError,
    GetHistoryRequest,
    History,
    HistoryEntry,
    ListSessionsRequest,
    SessionInfo,
    SessionList,
)
from callboard.v1.envelope_pb2 import ClientMessage


class Archive:
    """Has `count` conversations, and in each `entries` messages of `size` characters.

    max_page: conversations per page of a list. max_bytes: bytes per page of history, which has at
    least one entry.
    """

    def __init__(
        self,
        count: int = 1,
        entries: int = 0,
        size: int = 10,
        *,
        max_page: int = 1000,
        max_bytes: int = 512 * 1024,
    ) -> None:
        self.count = count
        self.entries = entries
        self.size = size
        self.max_page = max_page
        self.max_bytes = max_bytes
        self.requests: list[ListSessionsRequest | GetHistoryRequest] = []

    def respond(self, message: ClientMessage) -> Message:
        match message.WhichOneof("payload"):
            case "list_sessions":
                self.requests.append(message.list_sessions)
                return self.list(message.list_sessions)
            case "get_history":
                self.requests.append(message.get_history)
                return self.history(message.get_history)
            case _:
                return ChatError(code="UNIMPLEMENTED")

    def list(self, request: ListSessionsRequest) -> Message:
        start = int(request.page or 0)
        end = min(start + min(request.limit or self.max_page, self.max_page), self.count)
        sessions = [self.info(number) for number in range(start, end)]
        return SessionList(sessions=sessions, next_page=str(end) if end < self.count else "")

    def info(self, number: int) -> SessionInfo:
        return SessionInfo(id=f"{number:08}-id", title=f"title {number} " + "t" * self.size)

    def history(self, request: GetHistoryRequest) -> Message:
        end = int(request.before) if request.before else self.entries
        if end > self.entries:
            return ChatError(code="INVALID_ARGUMENT")
        page: list[HistoryEntry] = []
        size = 0
        while end > 0 and len(page) < request.limit:
            entry = self.entry(end - 1)
            size += entry.ByteSize()
            if page and size > self.max_bytes:
                break
            page.insert(0, entry)
            end -= 1
        return History(entries=page, more=end > 0)

    def entry(self, number: int) -> HistoryEntry:
        return HistoryEntry(id=str(number), user_text=f"{number} " + "x" * self.size)
