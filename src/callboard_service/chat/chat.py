"""Defines the actor types that answer the contract's chat requests through a chat backend."""

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
"""Events of a reply that need more than forwarding."""

_UNBUILT: Final = (
    "message_id", "detached", "attachments", "admit_only", "target_turn", "replaces",
)  # fmt: skip
"""Fields of SendMessageRequest that this service does not support.

A request that sets one is refused: ignoring it would break what the client relies on.
"""

ARCHIVED: Final = "a"
"""Prefix of the page tokens of lists that include archived conversations."""

FRAME_BYTES: Final = 1024
"""Bytes reserved for the rest of a frame that carries a page."""

DEFAULT_ANSWER_BYTES: Final = SessionLimits().max_answer_bytes

MAX_TITLE: Final = 1000
"""Characters. Bounded because every list carries the titles."""


class ListSessions(RequestActor[ListSessionsRequest, SessionList]):
    """Answers with a page of the conversations, newest first."""

    def __init__(self, backend: ChatBackend, max_answer_bytes: int) -> None:
        self._backend = backend
        self._page_bytes = min(PAGE_BYTES, max_answer_bytes - FRAME_BYTES)

    async def handle(self, request: ListSessionsRequest) -> SessionList:
        """Return the page. Raises Failure."""
        if request.search:
            raise _unimplemented("search")
        # No conversation is ever archived, so both lists are equal; only their tokens differ.
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
    """Creates a conversation."""

    def __init__(self, backend: ChatBackend) -> None:
        self._backend = backend

    async def handle(self, request: CreateSessionRequest) -> SessionInfo:
        """Create the conversation. Raises Failure."""
        for field in ("create_id", "directory"):
            if getattr(request, field):
                raise _unimplemented(field)
        if len(request.title) > MAX_TITLE:
            message = f"the title is longer than {MAX_TITLE} characters"
            raise Failure(Code.INVALID_ARGUMENT, message)
        return await self._backend.create(request.title)


class DeleteSession(RequestActor[DeleteSessionRequest, SessionDeleted]):
    """Deletes a conversation, after ending its running and waiting replies."""

    def __init__(self, backend: ChatBackend) -> None:
        self._backend = backend

    async def handle(self, request: DeleteSessionRequest) -> SessionDeleted:
        """End the conversation's replies with CANCELLED, then delete it.

        Raises Failure: UNAVAILABLE if the replies do not end within 30 s.
        """
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
    """Answers with a page of a conversation's history."""

    def __init__(self, backend: ChatBackend, max_answer_bytes: int) -> None:
        self._backend = backend
        self._entry_bytes = min(MAX_ENTRY_BYTES, max_answer_bytes - FRAME_BYTES)
        self._page_bytes = min(PAGE_BYTES, self._entry_bytes)

    async def handle(self, request: GetHistoryRequest) -> History:
        """Return the page, with entries that are too long for a frame shortened. Raises Failure."""
        granted = await self.context.reserve(self._page_bytes, SHORT_PAGE_BYTES)
        history = await self._backend.history(
            request.session_id, request.limit, request.before, granted
        )
        for entry in history.entries:
            shorten(entry, self._entry_bytes)
        return history


class SendMessage(StreamActor[SendMessageRequest, ReplyEvent]):
    """Sends a user's message to the backend and streams the reply."""

    def __init__(
        self, backend: ChatBackend, available: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        self._backend = backend
        self._available = available
        self.ends_if_stalled = backend.holds_place
        self._asks: dict[str, AskEvent] = {}

    async def handle(self, request: SendMessageRequest) -> AsyncIterator[Yielded[ReplyEvent]]:
        """Wait for the conversation's turn, then forward the backend's reply. Raises Failure."""
        for field in _UNBUILT:
            if getattr(request, field):
                raise _unimplemented(field)
        if request.delivery not in (Delivery.DELIVERY_UNSPECIFIED, Delivery.DELIVERY_QUEUE):
            raise _unimplemented("delivery")
        if not request.text.strip():
            raise Failure(Code.INVALID_ARGUMENT, "the message has no text")
        completed = ChatCompleted()
        # The turn is requested first, so that messages are answered in the order they were sent.
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
        """Wait for the next valid answer to an open ask and return it.

        An answer to an ask that is not open is ignored; an invalid one is reported in a notice.
        """
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
    """Return whether the ask allows this answer. An empty one, which declines, is always allowed.

    More than one answer requires `multiple`. A permission must be answered with its options; a
    question may be answered with free text, which the backend may accept or reject.
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
    """Register the actor types that answer the chat requests through `backend`.

    max_answer_bytes: the size of the longest frame to a client; pages and entries are made to fit.
    available: returns once the backend can be asked for a reply, or raises the Failure that ends
    the request.
    """
    registry.supervise("turns", ConversationTurns, DEFAULT_LIFECYCLE)
    registry.register(ListSessionsRequest, lambda: ListSessions(backend, max_answer_bytes))
    registry.register(CreateSessionRequest, lambda: CreateSession(backend))
    registry.register(DeleteSessionRequest, lambda: DeleteSession(backend))
    registry.register(GetHistoryRequest, lambda: GetHistory(backend, max_answer_bytes))
    registry.register(SendMessageRequest, lambda: SendMessage(backend, available))
