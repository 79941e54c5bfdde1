"""The turns of the conversations that a backend keeps in SQLite."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

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
    from callboard_service.backends.stored import StoredConversations


class StoredTurns:
    """A TurnJournal in the store of `owner`, which translates its errors."""

    def __init__(self, owner: "StoredConversations") -> None:
        self._owner = owner

    @property
    def attachments(self) -> "KeptAttachments":
        """The attachments of the owner's conversations."""
        return self._owner.attachments

    @property
    def run(self) -> int:
        """The store's run number."""
        return self._owner.run

    async def admit(self, conversation_id: str, turn: NewTurn) -> Admission:
        """See `TurnJournal.admit`."""
        self._owner.take_fresh(conversation_id)
        admission = await self._owner.write(lambda store: store.admit(conversation_id, turn))
        if turn.replaces and not admission.repeated:
            await self._owner.attachments.clean_up()
        return admission

    async def find_turn(
        self, conversation_id: str, *, turn_id: str = "", message_id: str = ""
    ) -> KeptTurn | None:
        """See `TurnJournal.find_turn`."""
        return await self._owner.read(
            lambda store: store.find_turn(conversation_id, turn_id=turn_id, message_id=message_id)
        )

    async def open_turns(self, conversation_id: str) -> list[KeptTurn]:
        """See `TurnJournal.open_turns`."""
        if self._owner.take_fresh(conversation_id):
            return []
        return await self._owner.read(lambda store: store.open_turns(conversation_id))

    async def conversations_with_open_turns(self) -> list[str]:
        """See `TurnJournal.conversations_with_open_turns`."""
        return await self._owner.read(lambda store: store.conversations_with_open_turns())

    async def start(self, conversation_id: str, turn_id: str) -> None:
        """See `TurnJournal.start`."""
        await self._owner.write(lambda store: store.start(conversation_id, turn_id))

    async def set_state(
        self, conversation_id: str, turn_id: str, state: TurnState.ValueType
    ) -> None:
        """See `TurnJournal.set_state`."""
        await self._owner.write(lambda store: store.set_state(conversation_id, turn_id, state))

    async def update_queued(
        self, conversation_id: str, turn_id: str, text: str | None = None, place: int | None = None
    ) -> list[KeptTurn]:
        """See `TurnJournal.update_queued`."""
        return await self._owner.write(
            lambda store: store.update_queued(conversation_id, turn_id, text, place)
        )

    async def hand_over(
        self, conversation_id: str, turn_id: str, running_id: str, entry: HistoryEntry
    ) -> None:
        """See `TurnJournal.hand_over`."""
        await self._owner.write(
            lambda store: store.hand_over(conversation_id, turn_id, running_id, entry)
        )

    async def handed_to(self, conversation_id: str, turn_id: str) -> list[KeptTurn]:
        """See `TurnJournal.handed_to`."""
        return await self._owner.read(lambda store: store.handed_to(conversation_id, turn_id))

    async def withdraw(self, conversation_id: str, turn_id: str) -> None:
        """See `TurnJournal.withdraw`."""
        await self._owner.write(lambda store: store.withdraw(conversation_id, turn_id))
        await self._owner.attachments.clean_up()

    async def choices(self, conversation_id: str) -> Mapping[str, str]:
        """See `TurnJournal.choices`."""
        return await self._owner.read(lambda store: store.choices(conversation_id))

    async def usage(self, conversation_id: str) -> UsageEvent | None:
        """See `TurnJournal.usage`."""
        return await self._owner.read(lambda store: store.usage(conversation_id))

    async def add_output(self, outputs: Sequence[TurnOutputPieces]) -> None:
        """See `TurnJournal.add_output`."""
        await self._owner.write(lambda store: store.add_output(outputs))

    async def begin_again(self, conversation_id: str, turn_id: str) -> None:
        """See `TurnJournal.begin_again`."""
        await self._owner.write(lambda store: store.begin_again(conversation_id, turn_id))

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
        """See `TurnJournal.end`."""
        await self._owner.write(
            lambda store: store.end(
                conversation_id,
                turn_id,
                state,
                entries,
                completed=completed,
                error=error,
                start=start,
                usage=usage,
            )
        )
        self._owner.index_later()

    async def interrupt(self, conversation_id: str, turn_id: str) -> None:
        """See `TurnJournal.interrupt`."""
        await self._owner.write(lambda store: store.interrupt(conversation_id, turn_id))

    async def turn_entries(self, conversation_id: str, turn_id: str) -> list[HistoryEntry]:
        """See `TurnJournal.turn_entries`."""
        return await self._owner.read(lambda store: store.turn_entries(conversation_id, turn_id))

    async def find_ask_closed(self, conversation_id: str, ask_id: str) -> AskClosed | None:
        """See `TurnJournal.find_ask_closed`."""
        return await self._owner.read(lambda store: store.find_ask_closed(conversation_id, ask_id))

    async def newest_entry(self, conversation_id: str) -> str:
        """See `TurnJournal.newest_entry`."""
        return await self._owner.read(lambda store: store.newest_entry(conversation_id))
