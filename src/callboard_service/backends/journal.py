"""What the conversations need from the store: turns, their output and their end."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from callboard.v1.chat_pb2 import (
    AskClosed,
    ChatCompleted,
    ChatError,
    HistoryEntry,
    TurnState,
    UsageEvent,
)
from callboard_service.store.kept_turns import Admission, KeptTurn, NewTurn
from callboard_service.store.turn_store import TurnOutputPieces

if TYPE_CHECKING:
    from callboard_service.backends.attachments import KeptAttachments


class TurnJournal(Protocol):
    """Keeps the turns of all conversations.

    Each coroutine method is one transaction, and raises Failure: NOT_FOUND if there is no such
    conversation, UNAVAILABLE or RESOURCE_EXHAUSTED if the store cannot carry it out.
    """

    @property
    def attachments(self) -> "KeptAttachments":
        """The attachments of messages, and uploads that no message uses yet."""

    @property
    def run(self) -> int:
        """The number of this run of the service, larger than that of any earlier one."""

    async def admit(self, conversation_id: str, turn: NewTurn) -> Admission:
        """Admit a message once; see `ConversationStore.admit`.

        Raises Failure: FAILED_PRECONDITION if the turn to be replaced is not the last one or has
        not failed, INVALID_ARGUMENT for an attachment that names no upload.
        """

    async def find_turn(
        self, conversation_id: str, *, turn_id: str = "", message_id: str = ""
    ) -> KeptTurn | None:
        """Return a turn by its id or its message's id, or None."""

    async def open_turns(self, conversation_id: str) -> list[KeptTurn]:
        """Return the turns that have not ended: the running one first, then the queue in order."""

    async def conversations_with_open_turns(self) -> list[str]:
        """Return the ids of the conversations that have open turns."""

    async def start(self, conversation_id: str, turn_id: str) -> None:
        """Note that a queued turn runs; its message enters the history."""

    async def set_state(
        self, conversation_id: str, turn_id: str, state: TurnState.ValueType
    ) -> None:
        """Set the state of a running turn."""

    async def update_queued(
        self, conversation_id: str, turn_id: str, text: str | None = None, place: int | None = None
    ) -> list[KeptTurn]:
        """Change a queued turn and return the queue.

        Raises Failure: FAILED_PRECONDITION if the turn is not queued any more.
        """

    async def hand_over(
        self, conversation_id: str, turn_id: str, running_id: str, entry: HistoryEntry
    ) -> None:
        """Make the message of a queued turn output of the running turn.

        Raises Failure: FAILED_PRECONDITION if the one is not queued, or the other not running.
        """

    async def handed_to(self, conversation_id: str, turn_id: str) -> list[KeptTurn]:
        """Return the messages that became part of a turn, in the order of their admission."""

    async def withdraw(self, conversation_id: str, turn_id: str) -> None:
        """Remove a queued turn; its message id is free again."""

    async def choices(self, conversation_id: str) -> Mapping[str, str]:
        """Return what was chosen in the conversation: values by option."""

    async def usage(self, conversation_id: str) -> UsageEvent | None:
        """Return the latest usage of the conversation; None if none is known."""

    async def add_output(self, outputs: Sequence[TurnOutputPieces]) -> None:
        """Append output of running turns; turns that are gone are skipped."""

    async def begin_again(self, conversation_id: str, turn_id: str) -> None:
        """Drop the stored output of a running turn, which comes again from its beginning."""

    async def end(
        self,
        conversation_id: str,
        turn_id: str,
        state: TurnState.ValueType,
        entries: Sequence[HistoryEntry],
        *,
        completed: ChatCompleted | None = None,
        error: ChatError | None = None,
        start: str = "",
        usage: UsageEvent | None = None,
    ) -> None:
        """End a turn with its complete output, and start the queued turn `start`, if given.

        usage: the latest of the conversation; None: as before.
        """

    async def interrupt(self, conversation_id: str, turn_id: str) -> None:
        """End a turn as INTERRUPTED, with the output that was stored."""

    async def turn_entries(self, conversation_id: str, turn_id: str) -> list[HistoryEntry]:
        """Return the history's entries of an ended turn, oldest first."""

    async def find_ask_closed(self, conversation_id: str, ask_id: str) -> AskClosed | None:
        """Return how an ask of an ended turn was settled; None if there was no such ask."""

    async def newest_entry(self, conversation_id: str) -> str:
        """Return the id of the newest entry of the history; empty if there is none."""
