"""The actor types that change conversations: their queue, title, options, and their copies."""

from typing import Final

from actors import Code, Failure, RequestActor
from callboard.v1.chat_pb2 import (
    CommandList,
    ForkSessionRequest,
    ListCommandsRequest,
    ListOptionsRequest,
    OptionList,
    SessionInfo,
    SetOptionRequest,
    TurnInfo,
    UpdateSessionRequest,
    UpdateTurnRequest,
)
from callboard_service.backends.base import ChatBackend
from callboard_service.chat.admission import MAX_ID
from callboard_service.chat.changes import Changes
from callboard_service.chat.conversation import Conversation
from callboard_service.chat.listing import Listing
from callboard_service.chat.messages import Choose, Update, UpdateQueued
from callboard_service.chat.sending import ADMISSION, ask_conversation

MAX_TITLE: Final = 1000
"""Characters. Bounded because every list carries the titles."""


def check_new(title: str, create_id: str) -> None:
    """Raise Failure, INVALID_ARGUMENT, if a new conversation cannot have this title or id."""
    for name, value, longest in (("title", title, MAX_TITLE), ("create_id", create_id, MAX_ID)):
        if len(value) > longest:
            message = f"the {name} is longer than {longest} characters"
            raise Failure(Code.INVALID_ARGUMENT, message)


class UpdateTurn(RequestActor[UpdateTurnRequest, TurnInfo]):
    """Changes the text or the place of a queued turn."""

    async def handle(self, request: UpdateTurnRequest) -> TurnInfo:
        """Return the turn's state. Raises Failure: NOT_FOUND, FAILED_PRECONDITION once it runs."""
        text = request.text if request.HasField("text") else None
        place = request.place if request.HasField("place") else None
        if place == 0:
            raise Failure(Code.INVALID_ARGUMENT, "the first place in the queue is 1")
        ref = self.context.actor(Conversation, request.session_id)
        return await ask_conversation(ref, UpdateQueued(request.turn_id, text, place), ADMISSION)


class UpdateSession(RequestActor[UpdateSessionRequest, SessionInfo]):
    """Changes a conversation's title, or whether it is archived."""

    async def handle(self, request: UpdateSessionRequest) -> SessionInfo:
        """Return the conversation. Raises Failure: NOT_FOUND, INVALID_ARGUMENT."""
        title = request.title if request.HasField("title") else None
        archived = request.archived if request.HasField("archived") else None
        check_new(title or "", "")
        ref = self.context.actor(Conversation, request.session_id)
        return await ask_conversation(ref, Update(title, archived), ADMISSION)


class ForkSession(RequestActor[ForkSessionRequest, SessionInfo]):
    """Copies a conversation up to an entry."""

    def __init__(self, listing: Listing, changes: Changes) -> None:
        self._listing = listing
        self._changes = changes

    async def handle(self, request: ForkSessionRequest) -> SessionInfo:
        """Return the copy. Raises Failure: NOT_FOUND, INVALID_ARGUMENT."""
        check_new(request.title, request.create_id)
        info = await self._listing.fork(
            request.session_id, request.before, request.title, request.create_id
        )
        self._changes.changed(info)
        return info


class ListOptions(RequestActor[ListOptionsRequest, OptionList]):
    """Lists what can be chosen in a conversation."""

    def __init__(self, listing: Listing, backend: ChatBackend) -> None:
        self._listing = listing
        self._backend = backend

    async def handle(self, request: ListOptionsRequest) -> OptionList:
        """Return the options. Raises Failure: NOT_FOUND, UNIMPLEMENTED."""
        self._listing.require("options")
        return await self._backend.options(request.session_id)


class SetOption(RequestActor[SetOptionRequest, OptionList]):
    """Sets an option of a conversation."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing

    async def handle(self, request: SetOptionRequest) -> OptionList:
        """Return the options after the change. Raises Failure: NOT_FOUND, INVALID_ARGUMENT."""
        self._listing.require("options")
        ref = self.context.actor(Conversation, request.session_id)
        return await ask_conversation(ref, Choose(request.option_id, request.value), ADMISSION)


class ListCommands(RequestActor[ListCommandsRequest, CommandList]):
    """Lists the commands that a message may begin with."""

    def __init__(self, listing: Listing, backend: ChatBackend) -> None:
        self._listing = listing
        self._backend = backend

    async def handle(self, request: ListCommandsRequest) -> CommandList:
        """Return the commands. Raises Failure: NOT_FOUND, UNIMPLEMENTED."""
        self._listing.require("commands")
        return await self._backend.commands(request.session_id)
