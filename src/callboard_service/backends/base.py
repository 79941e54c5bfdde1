"""The interface of a chat backend: it keeps conversations and makes replies."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
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
    PlanEvent,
    ReasoningToken,
    SessionInfo,
    SessionList,
    ToolCallEvent,
    ToolProgressEvent,
    ToolResultEvent,
    UsageEvent,
)
from callboard_service.backends.journal import TurnJournal
from callboard_service.pages import MAX_ENTRY_BYTES, PAGE_BYTES, TURNS_BYTES

__all__ = [
    "MAX_ENTRY_BYTES",
    "PAGE_BYTES",
    "TURNS_BYTES",
    "ChatBackend",
    "Health",
    "Prompt",
    "ReplyEvent",
    "TurnEvent",
]

TurnEvent: TypeAlias = (
    ToolCallEvent
    | ToolProgressEvent
    | ToolResultEvent
    | PlanEvent
    | UsageEvent
    | AskEvent
    | AskClosed
    | ChatNotice
)
"""Every event of a turn but its tokens, its state and its end."""

ReplyEvent: TypeAlias = ChatToken | ReasoningToken | TurnEvent | ChatCompleted


@dataclass(frozen=True, slots=True)
class Prompt:
    """A user's message, and what the backend needs to reply to it.

    answered: waits for the next answer to an ask of this reply. session: the client's session;
    scarce places are shared fairly among sessions. turn_id: unique in the conversation. resumed:
    the reply began before the service ended; see `ChatBackend.reply`.
    """

    conversation_id: str
    text: str
    model: str
    answered: Callable[[], Awaitable[AnswerRequest]]
    log: Log
    session: str = ""
    turn_id: str = ""
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class Health:
    """Whether chat requests can be served now, with an explanation for a person to read."""

    ready: bool
    detail: str


class ChatBackend(Protocol):
    """Keeps conversations and makes replies.

    The conversation's actor stores the turns through `journal`; the backend makes their output.
    Expected errors are raised as Failure, with the contract's codes.
    """

    name: str

    resumes: bool
    """Whether a reply may have gone on while the service was not there."""

    journal: TurnJournal

    @property
    def data_folder(self) -> Path | None:
        """The folder that one service at a time may use, or None if it keeps nothing in one."""

    def store_spec(self) -> ChildSpec | None:
        """Return the actor that owns the conversations, or None if the backend keeps none itself.

        The service starts it before `spec` and supervises it separately, so conversations can be
        read and deleted even while no reply can be made.
        """

    def store_health(self) -> Health | None:
        """Return the health of the store, or None if the backend keeps no conversations itself."""

    def hurry(self, seconds: float) -> None:
        """Let writes wait for at most `seconds` from now on, because the service is stopping."""

    def spec(self) -> ChildSpec | None:
        """Return the subtree that makes replies, or None if replies need no actor."""

    def health(self) -> Health:
        """Return the last known state, without I/O."""

    async def conversations(
        self, limit: int = 0, page: str = "", at_most_bytes: int = PAGE_BYTES
    ) -> SessionList:
        """Return a page of conversations, the most recently changed first.

        limit: number of conversations; 0: as many as fit into `at_most_bytes`. page: `next_page` of
        the previous page; empty: the first page. A conversation that changes between two calls may
        be missed or repeated. The result may be shared with other callers and must not be changed.
        Raises Failure: INVALID_ARGUMENT for a malformed `page`.
        """

    async def create(self, title: str, create_id: str = "") -> SessionInfo:
        """Create a conversation and return it; a repeated `create_id` returns the first one."""

    async def get(self, conversation_id: str) -> SessionInfo:
        """Return one conversation. Raises Failure: NOT_FOUND."""

    async def delete(self, conversation_id: str) -> None:
        """Delete a conversation permanently; none of its replies runs afterwards.

        Raises Failure: NOT_FOUND.
        """

    async def history(
        self, conversation_id: str, limit: int, before: str, at_most_bytes: int = PAGE_BYTES
    ) -> History:
        """Return a page of entries, oldest first: the newest ones before the entry `before`.

        limit: number of entries; 0: the backend's choice. The encoded entries take at most
        `at_most_bytes`, but at least one entry is returned, whatever its size. `more` is set if
        there are older ones. Raises Failure: NOT_FOUND, and INVALID_ARGUMENT for an unknown
        `before`.
        """

    def reply(self, prompt: Prompt) -> AsyncGenerator[ReplyEvent | Burst[ReplyEvent], None]:
        """Yield the reply as it is made; the last event is a ChatCompleted.

        The message is the newest one of the conversation's history. A Burst contains only tokens.
        At most one reply runs for a conversation at a time. Closing the generator stops the model.

        If the prompt is `resumed`, which only backends with `resumes` get, nothing is started. The
        whole reply is yielded, from its beginning, if it went on; otherwise Failure is raised
        before the first event.

        Raises Failure.
        """
