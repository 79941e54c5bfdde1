"""Defines the actor types that answer the contract's chat requests through a chat backend."""

from collections.abc import Awaitable, Callable
from typing import Final, Never

from actors import (
    Actor,
    AskFailed,
    Code,
    Failure,
    Log,
    Registry,
    RequestActor,
    Undelivered,
)
from actors.protocol.limits import SessionLimits
from actors.runtime.supervision import DEFAULT_LIFECYCLE
from callboard.v1.chat_pb2 import (
    AnswerAskRequest,
    CreateSessionRequest,
    DeleteSessionRequest,
    FollowSessionRequest,
    ForkSessionRequest,
    GetHistoryRequest,
    History,
    ListCommandsRequest,
    ListOptionsRequest,
    ListSessionsRequest,
    SendMessageRequest,
    SessionDeleted,
    SessionInfo,
    SessionList,
    SetOptionRequest,
    StopTurnRequest,
    UpdateSessionRequest,
    UpdateTurnRequest,
    WatchSessionsRequest,
)
from callboard_service.backends.base import ChatBackend
from callboard_service.chat import attaching, reporting
from callboard_service.chat.attaching import DEFAULT_QUOTA, Attachments
from callboard_service.chat.changes import Changes, WatchSessions
from callboard_service.chat.conversation import ChatEnvironment, Conversation
from callboard_service.chat.first_version import of_first_version, old_entries
from callboard_service.chat.following import AnswerAsk, FollowSession, StopTurn
from callboard_service.chat.listing import FOLLOW, Listing
from callboard_service.chat.log import Positions
from callboard_service.chat.messages import Delete, Recover, Where
from callboard_service.chat.organising import (
    ForkSession,
    ListCommands,
    ListOptions,
    SetOption,
    UpdateSession,
    UpdateTurn,
    check_new,
)
from callboard_service.chat.output import UnstoredOutput
from callboard_service.chat.sending import (
    ADMISSION,
    SendMessage,
    ask_conversation,
)
from callboard_service.chat.writer import OutputStorer
from callboard_service.pages import (
    MAX_ENTRY_BYTES,
    PAGE_BYTES,
    SHORT_PAGE_BYTES,
    shorten,
)

MAX_ALIVE: Final = 4_096
"""Conversations whose actors are alive at once."""

IDLE: Final = 60.0
"""Seconds after which a conversation that nobody uses leaves the memory."""

FRAME_BYTES: Final = 1024
"""Bytes reserved for the rest of a frame that carries a page."""

DEFAULT_ANSWER_BYTES: Final = SessionLimits().max_answer_bytes


class ListSessions(RequestActor[ListSessionsRequest, SessionList]):
    """Answers with a page of the conversations, newest first."""

    def __init__(self, listing: Listing, max_answer_bytes: int) -> None:
        self._listing = listing
        self._page_bytes = min(PAGE_BYTES, max_answer_bytes - FRAME_BYTES)

    async def handle(self, request: ListSessionsRequest) -> SessionList:
        """Return the page. Raises Failure."""
        granted = await self.context.reserve(self._page_bytes, SHORT_PAGE_BYTES)
        found = await self._listing.page(
            request.limit, request.page, granted, search=request.search, archived=request.archived
        )
        if FOLLOW in self.context.features:
            return found
        old = [of_first_version(info) for info in found.sessions]
        return SessionList(sessions=old, next_page=found.next_page)


class CreateSession(RequestActor[CreateSessionRequest, SessionInfo]):
    """Creates a conversation."""

    def __init__(self, listing: Listing, changes: Changes) -> None:
        self._listing = listing
        self._changes = changes

    async def handle(self, request: CreateSessionRequest) -> SessionInfo:
        """Create the conversation. Raises Failure."""
        check_new(request.title, request.create_id)
        info = await self._listing.create(request.title, request.create_id, request.directory)
        self._changes.changed(info)
        return info if FOLLOW in self.context.features else of_first_version(info)


class DeleteSession(RequestActor[DeleteSessionRequest, SessionDeleted]):
    """Deletes a conversation, after ending its running and waiting turns."""

    async def handle(self, request: DeleteSessionRequest) -> SessionDeleted:
        """End the conversation's turns with CANCELLED, then delete it.

        Raises Failure: NOT_FOUND, and UNAVAILABLE if the turns do not end within 30 s.
        """
        name = request.session_id
        conversation = self.context.actor(Conversation, name)
        try:
            await conversation.ask(Delete(), timeout=30.0)
        except (AskFailed, Undelivered) as error:
            raise Failure(
                Code.UNAVAILABLE, "the running reply did not stop", retryable=True
            ) from error
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
        follows = FOLLOW in self.context.features
        position = 0
        if follows and not request.before:
            # Read before the page: everything after it is either in the page or in the log.
            conversation = self.context.actor(Conversation, request.session_id)
            position = await ask_conversation(conversation, Where(), ADMISSION)
        history = await self._backend.history(
            request.session_id, request.limit, request.before, granted
        )
        if not follows:
            known = list(old_entries(history.entries))
            del history.entries[:]
            history.entries.extend(known)
        for entry in history.entries:
            shorten(entry, self._entry_bytes)
        history.position = position
        return history


class Recovery(Actor[Never]):
    """Has the conversations that have open turns take them up when the service starts."""

    def __init__(self, registry: Registry, environment: ChatEnvironment) -> None:
        self._registry = registry
        self._environment = environment

    async def main(self) -> None:
        """Tell each of these conversations; one that cannot be used is left for later."""
        try:
            names = await self._environment.journal.conversations_with_open_turns()
        except Failure as failure:
            self._environment.log.warning("open turns not read", reason=failure.message)
            return
        for name in names:
            try:
                await self._registry.actor(Conversation, name).send(Recover())
            except (Failure, Undelivered) as error:
                self._environment.log.warning("turns not taken up", reason=str(error))

    def receive(self, message: Never) -> None:
        """Do nothing: it has no messages."""


def register(
    registry: Registry,
    backend: ChatBackend,
    log: Log,
    max_answer_bytes: int = DEFAULT_ANSWER_BYTES,
    available: Callable[[], Awaitable[None]] | None = None,
    resume_window: float = SessionLimits().resume_window,
    attachment_quota: int = DEFAULT_QUOTA,
) -> None:
    """Register the actor types that answer the chat requests through `backend`.

    max_answer_bytes: the size of the longest frame to a client; pages and entries are made to fit.
    available: returns once the backend can be asked for a reply, or raises the Failure that the
    turn ends with. resume_window: as in `ChatEnvironment`. attachment_quota: the bytes that all
    attachments may take.
    """
    journal = backend.journal
    unstored, changes, listing = UnstoredOutput(), Changes(), Listing(backend)
    attachments = Attachments(backend, attachment_quota)
    environment = ChatEnvironment(
        backend,
        listing,
        journal,
        Positions(lambda: journal.run),
        log,
        unstored,
        changes,
        attachments,
        available,
        resume_window,
    )
    registry.supervise("output", lambda: OutputStorer(unstored, journal, log), DEFAULT_LIFECYCLE)
    registry.named(
        Conversation,
        lambda name: Conversation(name, environment),
        at_most=MAX_ALIVE,
        idle=IDLE,
    )
    registry.supervise("recovery", lambda: Recovery(registry, environment))
    reporting.register(registry, environment)
    registry.register(ListSessionsRequest, lambda: ListSessions(listing, max_answer_bytes))
    registry.register(CreateSessionRequest, lambda: CreateSession(listing, changes))
    registry.register(DeleteSessionRequest, DeleteSession)
    registry.register(GetHistoryRequest, lambda: GetHistory(backend, max_answer_bytes))
    registry.register(SendMessageRequest, lambda: SendMessage(journal))
    registry.register(FollowSessionRequest, FollowSession)
    registry.register(StopTurnRequest, StopTurn)
    registry.register(AnswerAskRequest, AnswerAsk)
    _register_organising(registry, backend, listing, changes)
    attaching.register(registry, backend, listing, attachments)


def _register_organising(
    registry: Registry, backend: ChatBackend, listing: Listing, changes: Changes
) -> None:
    """Register what changes conversations, reports that, and lists what can be chosen in them."""
    registry.register(WatchSessionsRequest, lambda: WatchSessions(listing, changes))
    registry.register(UpdateTurnRequest, UpdateTurn)
    registry.register(UpdateSessionRequest, UpdateSession)
    registry.register(ForkSessionRequest, lambda: ForkSession(listing, changes))
    registry.register(ListOptionsRequest, lambda: ListOptions(listing, backend))
    registry.register(SetOptionRequest, lambda: SetOption(listing))
    registry.register(ListCommandsRequest, lambda: ListCommands(listing, backend))
