"""The turns of OpenCode's conversations: the server keeps the messages, this service the turns."""

from collections.abc import Awaitable, Callable, Collection, Sequence

from actors import Code, Failure
from callboard.v1.chat_pb2 import HistoryEntry
from callboard_service.backends.stored import StoredConversations
from callboard_service.backends.stored_turns import StoredTurns
from callboard_service.store.kept_turns import Admission, KeptTurn, NewTurn


class OpenCodeTurns(StoredTurns):
    """A TurnJournal for conversations that the OpenCode server keeps.

    check: raises Failure, NOT_FOUND, if the server has no such conversation. newest: returns the id
    of the newest entry of a conversation's history that belongs to none of the given turns. forget:
    has the server delete what it has of a turn.
    """

    def __init__(
        self,
        owner: StoredConversations,
        check: Callable[[str], Awaitable[object]],
        newest: Callable[[str, Collection[str]], Awaitable[str]],
        forget: Callable[[str, str], Awaitable[None]],
    ) -> None:
        super().__init__(owner)
        self._check = check
        self._newest = newest
        self._forget = forget

    async def admit(self, conversation_id: str, turn: NewTurn) -> Admission:
        """See `TurnJournal.admit`. The server deletes what it has of a replaced turn."""
        admission = await super().admit(conversation_id, turn)
        if turn.replaces and not admission.repeated:
            await self._forget(conversation_id, turn.replaces)
        return admission

    async def open_turns(self, conversation_id: str) -> list[KeptTurn]:
        """See `TurnJournal.open_turns`. The server is asked whether the conversation exists."""
        await self._check(conversation_id)
        await self._owner.write(lambda store: store.ensure(conversation_id))
        return await super().open_turns(conversation_id)

    async def newest_entry(self, conversation_id: str) -> str:
        """See `TurnJournal.newest_entry`. The order is that of the server's messages."""
        opened = await super().open_turns(conversation_id)
        return await self._newest(conversation_id, {turn.id for turn in opened})

    async def kept_entries(
        self, conversation_id: str, turn_id: str
    ) -> Sequence[HistoryEntry] | None:
        """Return what the history has of a turn; None if this service does not know the turn."""
        try:
            entries = await self.turn_entries(conversation_id, turn_id)
        except Failure as failure:
            if failure.code is not Code.NOT_FOUND:
                raise
            return None
        return [entry for entry in entries if entry.id]  # output of an open turn has none
