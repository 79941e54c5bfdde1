"""What a chat backend is: conversations, and replies to them as they are made."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from actors import Burst, ChildSpec, Log
from callboard.v1.chat_pb2 import (
    AnswerRequest,
    AskClosed,
    AskEvent,
    ChatCompleted,
    ChatNotice,
    ChatToken,
    History,
    ReasoningToken,
    SessionInfo,
    SessionList,
    ToolCallEvent,
    ToolResultEvent,
)
from callboard_service.pages import MAX_ENTRY_BYTES, PAGE_BYTES, TURNS_BYTES

__all__ = [
    "MAX_ENTRY_BYTES",
    "PAGE_BYTES",
    "TURNS_BYTES",
    "ChatBackend",
    "Health",
    "Prompt",
    "ReplyEvent",
]

ReplyEvent: TypeAlias = (
    ChatToken
    | ReasoningToken
    | ToolCallEvent
    | ToolResultEvent
    | AskEvent
    | AskClosed
    | ChatNotice
    | ChatCompleted
)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A message of the user's, and what its reply may need.

    answered: waits for the client's next answer to an ask of this reply. session: the client's
    session, among which scarce places are shared fairly.
    """

    conversation_id: str
    text: str
    model: str
    answered: Callable[[], Awaitable[AnswerRequest]]
    log: Log
    session: str = ""


@dataclass(frozen=True, slots=True)
class Health:
    """Whether chat requests can be served now, and why not, for a person to read."""

    ready: bool
    detail: str


class ChatBackend(Protocol):
    """Keeps conversations and makes replies.

    The methods that are coroutines run in the actor of the request that called them. Expected
    errors are raised as Failure, with the contract's codes.
    """

    name: str

    holds_place: bool
    """Whether a reply holds something scarce while it runs: it ends if its client stalls it."""

    def store_spec(self) -> ChildSpec | None:
        """Return the actor that owns the conversations, or None if the backend keeps none itself.

        The service starts it before `spec`, and supervises it apart: conversations can be read and
        deleted while no reply can be made.
        """

    def store_health(self) -> Health | None:
        """Return the state of the conversations, or None if the backend keeps none itself."""

    def hurry(self, seconds: float) -> None:
        """Have what is still to be kept wait for at most so many seconds: the service stops."""

    def spec(self) -> ChildSpec | None:
        """Return the subtree that makes replies, or None if replies need no actor."""

    def health(self) -> Health:
        """Return the state as far as it is known, without asking anybody."""

    async def conversations(
        self, limit: int = 0, page: str = "", at_most_bytes: int = PAGE_BYTES
    ) -> SessionList:
        """Return a page of the conversations, the most recently changed first.

        limit: conversations; 0: as many as fit into `at_most_bytes`. page: `next_page` of the page
        before; empty: the first page. A conversation that changes in between may be missed or
        repeated. The result may be shared with other callers: it must not be changed. Raises
        Failure: INVALID_ARGUMENT for a malformed `page`.
        """

    async def create(self, title: str) -> SessionInfo:
        """Create a conversation."""

    async def get(self, conversation_id: str) -> SessionInfo:
        """Return one conversation. Raises Failure: NOT_FOUND."""

    async def delete(self, conversation_id: str) -> None:
        """Delete it for good; no reply of its runs any more. NOT_FOUND."""

    async def history(
        self, conversation_id: str, limit: int, before: str, at_most_bytes: int = PAGE_BYTES
    ) -> History:
        """Return a page of entries, oldest first: the newest before the entry `before`.

        limit: entries; 0: the backend's choice. The encoded entries have at most `at_most_bytes`,
        but there is always at least one, whatever its size. `more` is set if there are older ones.
        Raises Failure: NOT_FOUND, and INVALID_ARGUMENT for an unknown `before`.
        """

    def reply(self, prompt: Prompt) -> AsyncGenerator[ReplyEvent | Burst[ReplyEvent], None]:
        """The reply as it is made; its last event is a ChatCompleted.

        A Burst holds tokens alone.

        Only one runs for a conversation at a time. Closing it stops the model. NOT_FOUND for a
        conversation that is not there, before any event and with nothing kept.
        """
