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
    ToolCallEvent,
    ToolResultEvent,
)

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

    answered: waits for the client's next answer to an ask of this reply.
    """

    conversation_id: str
    text: str
    model: str
    answered: Callable[[], Awaitable[AnswerRequest]]
    log: Log


@dataclass(frozen=True, slots=True)
class Health:
    """Whether chat requests can be served now, and what a person should know of it."""

    ready: bool
    detail: str


class ChatBackend(Protocol):
    """Keeps conversations and makes replies.

    Every method but `spec` runs in the actor of the request that called it. Expected errors are
    raised as Failure, with the contract's codes.
    """

    name: str

    def spec(self) -> ChildSpec:
        """The backend's subtree of actors, which the service starts and supervises."""

    def health(self) -> Health:
        """How it is now, as far as it is known; asks nobody."""

    async def conversations(self) -> list[SessionInfo]:
        """All of them, newest first."""

    async def create(self, title: str) -> SessionInfo:
        """A new conversation."""

    async def get(self, conversation_id: str) -> SessionInfo:
        """One conversation; NOT_FOUND."""

    async def delete(self, conversation_id: str) -> None:
        """Delete it for good; no reply of its runs any more. NOT_FOUND."""

    async def history(self, conversation_id: str, limit: int, before: str) -> History:
        """A page of its entries; NOT_FOUND, INVALID_ARGUMENT for an unknown `before`."""

    def reply(self, prompt: Prompt) -> AsyncGenerator[ReplyEvent | Burst[ReplyEvent], None]:
        """The reply as it is made; its last event is a ChatCompleted.

        A Burst holds tokens alone.

        Only one runs for a conversation at a time. Closing it stops the model. NOT_FOUND for a
        conversation that is not there, before any event and with nothing kept.
        """
