"""The chat requests of the contract, as actor types over a backend: the first extension."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Final

from actors import (
    AskFailed,
    Closes,
    Code,
    Failure,
    Last,
    Opens,
    Registry,
    Relay,
    RequestActor,
    StreamActor,
    Undelivered,
    Yielded,
)
from actors.protocol.limits import SessionLimits
from actors.runtime.supervision import DEFAULT_LIFECYCLE
from callboard.v1.chat_pb2 import (
    AnswerRequest,
    AskClosed,
    AskEvent,
    ChatCompleted,
    CreateSessionRequest,
    DeleteSessionRequest,
    Delivery,
    GetHistoryRequest,
    History,
    ListSessionsRequest,
    SendMessageRequest,
    SessionDeleted,
    SessionInfo,
    SessionList,
)
from callboard_service.backends.base import ChatBackend, Prompt, ReplyEvent
from callboard_service.chat.turns import Clear, ConversationTurns, turn
from callboard_service.pages import (
    MAX_ENTRY_BYTES,
    PAGE_BYTES,
    SHORT_PAGE_BYTES,
    bad_page,
    shorten,
)

_OF_NOTE: Final = frozenset({ChatCompleted, AskEvent, AskClosed})
"""Events of a reply that are not simply passed on."""

_UNBUILT: Final = (
    "message_id", "detached", "attachments", "admit_only", "target_turn", "replaces",
)  # fmt: skip
"""Fields of SendMessageRequest that this service does not support.

To ignore one silently would break the promise that the client relies on.
"""

ARCHIVED: Final = "a"
"""Begins the page tokens of lists that include archived conversations."""

FRAME_BYTES: Final = 1024
"""Room for the rest of a frame that carries a page."""

DEFAULT_ANSWER_BYTES: Final = SessionLimits().max_answer_bytes

MAX_TITLE: Final = 1000
"""Characters; every list carries every title."""


class ListSessions(RequestActor[ListSessionsRequest, SessionList]):
    """A page of the conversations, newest first."""

    def __init__(self, backend: ChatBackend, max_answer_bytes: int) -> None:
        self._backend = backend
        self._page_bytes = min(PAGE_BYTES, max_answer_bytes - FRAME_BYTES)

    async def handle(self, request: ListSessionsRequest) -> SessionList:
        """Return the page. Raises Failure."""
        if request.search:
            raise _unimplemented("search")
        # No conversation is archived, so both lists are the same; their tokens are not.
        page = request.page
        if page and page.startswith(ARCHIVED) != request.archived:
            raise bad_page()
        granted = await self.context.reserve(self._page_bytes, SHORT_PAGE_BYTES)
        found = await self._backend.conversations(
            request.limit, page.removeprefix(ARCHIVED), granted
        )
        if request.archived and found.next_page:
            return SessionList(sessions=found.sessions, next_page=ARCHIVED + found.next_page)
        return found


class CreateSession(RequestActor[CreateSessionRequest, SessionInfo]):
    """A new conversation."""

    def __init__(self, backend: ChatBackend) -> None:
        self._backend = backend

    async def handle(self, request: CreateSessionRequest) -> SessionInfo:
        """Create it. Raises Failure."""
        for field in ("create_id", "directory"):
            if getattr(request, field):
                raise _unimplemented(field)
        if len(request.title) > MAX_TITLE:
            message = f"the title is longer than {MAX_TITLE} characters"
            raise Failure(Code.INVALID_ARGUMENT, message)
        return await self._backend.create(request.title)


class DeleteSession(RequestActor[DeleteSessionRequest, SessionDeleted]):
    """The end of a conversation, and of its running reply before."""

    def __init__(self, backend: ChatBackend) -> None:
        self._backend = backend

    async def handle(self, request: DeleteSessionRequest) -> SessionDeleted:
        """End its replies with CANCELLED, then delete it."""
        name = request.session_id
        await self._backend.get(name)
        try:
            await self.context.actor(ConversationTurns).ask(
                lambda reply: Clear(name, reply), timeout=30.0
            )
        except (AskFailed, Undelivered) as error:
            raise Failure(
                Code.UNAVAILABLE, "the running reply does not end", retryable=True
            ) from error
        await self._backend.delete(name)
        return SessionDeleted(session_id=name)


class GetHistory(RequestActor[GetHistoryRequest, History]):
    """A page of a conversation."""

    def __init__(self, backend: ChatBackend, max_answer_bytes: int) -> None:
        self._backend = backend
        self._entry_bytes = min(MAX_ENTRY_BYTES, max_answer_bytes - FRAME_BYTES)
        self._page_bytes = min(PAGE_BYTES, self._entry_bytes)

    async def handle(self, request: GetHistoryRequest) -> History:
        """Read the page; an entry that is too long for a frame is cut. Raises Failure."""
        granted = await self.context.reserve(self._page_bytes, SHORT_PAGE_BYTES)
        history = await self._backend.history(
            request.session_id, request.limit, request.before, granted
        )
        for entry in history.entries:
            shorten(entry, self._entry_bytes)
        return history


class SendMessage(StreamActor[SendMessageRequest, ReplyEvent]):
    """A message of the user's; the reply streams."""

    def __init__(
        self, backend: ChatBackend, available: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        self._backend = backend
        self._available = available
        self.ends_if_stalled = backend.holds_place
        self._asks: dict[str, AskEvent] = {}

    async def handle(self, request: SendMessageRequest) -> AsyncIterator[Yielded[ReplyEvent]]:
        """Wait for the conversation's turn, then pass on what the backend makes."""
        for field in _UNBUILT:
            if getattr(request, field):
                raise _unimplemented(field)
        if request.delivery not in (Delivery.DELIVERY_UNSPECIFIED, Delivery.DELIVERY_QUEUE):
            raise _unimplemented("delivery")
        if not request.text.strip():
            raise Failure(Code.INVALID_ARGUMENT, "the message has no text")
        completed = ChatCompleted()
        # The turn comes first: messages are answered in the order in which they were sent.
        async with turn(self.context.actor(ConversationTurns), request.session_id, self.context):
            if self._available is not None:
                await self._available()
            prompt = Prompt(
                conversation_id=request.session_id,
                text=request.text,
                model=request.model,
                answered=self._answered,
                log=self.context.log,
                session=self.context.session,
            )
            async with aclosing(self._backend.reply(prompt)) as events:
                relay = Relay(events, until=_OF_NOTE)
                yield relay
                while (event := relay.stopped_by) is not None:
                    if isinstance(event, ChatCompleted):
                        completed = event
                    elif isinstance(event, AskEvent):
                        self._asks[event.ask_id] = event
                        yield Opens(event.ask_id, event, AskClosed(ask_id=event.ask_id))
                    elif isinstance(event, AskClosed):
                        self._asks.pop(event.ask_id, None)
                        yield Closes(event.ask_id, event)
                    yield relay
        yield Last(completed)

    async def _answered(self) -> AnswerRequest:
        """The next answer to an open ask that the ask allows; others are ignored."""
        while True:
            answer = await self.context.received(AnswerRequest)
            ask = self._asks.get(answer.ask_id)
            if ask is None:
                continue
            if fits(ask, answer):
                return answer
            self.context.notice("That answer is none of the options; the question is still open.")


def _unimplemented(field: str) -> Failure:
    return Failure(Code.UNIMPLEMENTED, f"this service does not support the field {field}")


def fits(ask: AskEvent, answer: AnswerRequest) -> bool:
    """The ask allows this answer. None at all, which declines, is always allowed.

    A permission is one of its options and nothing else; a question may be answered in one's own
    words, which is for the backend to take or not.
    """
    if len(answer.answers) > 1 and not ask.multiple:
        return False
    if ask.kind != AskEvent.KIND_PERMISSION:
        return True
    return all(chosen in ask.options for chosen in answer.answers)


def register(
    registry: Registry,
    backend: ChatBackend,
    max_answer_bytes: int = DEFAULT_ANSWER_BYTES,
    available: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Have this backend answer the chat requests.

    max_answer_bytes: the longest frame to a client; pages and entries are made to fit.
    available: returns once the backend can be asked for a reply, or raises the Failure that ends
    the request.
    """
    registry.supervise("turns", ConversationTurns, DEFAULT_LIFECYCLE)
    registry.register(ListSessionsRequest, lambda: ListSessions(backend, max_answer_bytes))
    registry.register(CreateSessionRequest, lambda: CreateSession(backend))
    registry.register(DeleteSessionRequest, lambda: DeleteSession(backend))
    registry.register(GetHistoryRequest, lambda: GetHistory(backend, max_answer_bytes))
    registry.register(SendMessageRequest, lambda: SendMessage(backend, available))
