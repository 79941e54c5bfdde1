"""The part of the conversation store that reads turns."""

from typing import Final

from callboard.v1.chat_pb2 import AskClosed, ConversationState, HistoryEntry
from callboard_service.store import histories, pieces, turns
from callboard_service.store.database import Database
from callboard_service.store.histories import OPEN, conversation_key
from callboard_service.store.kept_turns import KeptTurn
from callboard_service.store.transaction import Transaction

_WITH_OPEN_TURNS: Final = f"""
    SELECT id FROM conversations WHERE key IN (SELECT conversation FROM turns WHERE {OPEN})
    ORDER BY key
"""  # noqa: S608  # a constant
_OPEN_STATES: Final = f"""
    SELECT conversations.id, max(state = 3) FROM turns
    JOIN conversations ON conversations.key = turns.conversation WHERE {OPEN} GROUP BY conversation
"""  # noqa: S608  # a constant
_ASKS_CLOSED: Final = """
    SELECT data FROM entries WHERE conversation = ? AND kind = 'ask_closed' ORDER BY id DESC
"""


class TurnReader:
    """Reads the turns of conversations.

    A call that names an unknown conversation raises UnknownConversation.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find_turn(
        self, conversation_id: str, *, turn_id: str = "", message_id: str = ""
    ) -> KeptTurn | None:
        """Return the turn with this id, or else with this message id; None if there is none."""

        def find(transaction: Transaction) -> KeptTurn | None:
            key = conversation_key(transaction, conversation_id)
            return turns.find_turn(transaction, key, turn_id=turn_id, message_id=message_id)

        return await self._database.read(find)

    async def open_turns(self, conversation_id: str) -> list[KeptTurn]:
        """Return the turns that have not ended: the one that has started, then the queue."""

        def select(transaction: Transaction) -> list[KeptTurn]:
            return turns.open_turns(transaction, conversation_key(transaction, conversation_id))

        return await self._database.read(select)

    async def handed_to(self, conversation_id: str, turn_id: str) -> list[KeptTurn]:
        """Return the messages that became part of a turn, in the order of their admission."""

        def select(transaction: Transaction) -> list[KeptTurn]:
            key = conversation_key(transaction, conversation_id)
            return turns.handed_to(transaction, key, turn_id)

        return await self._database.read(select)

    async def conversations_with_open_turns(self) -> list[str]:
        """Return the ids of the conversations with turns that have not ended, oldest first."""

        def select(transaction: Transaction) -> list[str]:
            return [row[0] for row in transaction.each(_WITH_OPEN_TURNS)]

        return await self._database.read(select)

    async def open_states(self) -> dict[str, ConversationState.ValueType]:
        """Return the states of the conversations with turns that have not ended, by their ids."""

        def select(transaction: Transaction) -> dict[str, ConversationState.ValueType]:
            return {
                name: histories.state_of(waits) for name, waits in transaction.each(_OPEN_STATES)
            }

        return await self._database.read(select)

    async def turn_entries(self, conversation_id: str, turn_id: str) -> list[HistoryEntry]:
        """Return the entries of a turn, oldest first.

        Those of a turn that has not ended are its message and the entries that its pieces make up,
        without ids; a queued turn has none. Raises UnknownTurn.
        """

        def select(transaction: Transaction) -> list[HistoryEntry]:
            key = conversation_key(transaction, conversation_id)
            turns.get_turn(transaction, key, turn_id)
            kept = histories.entries_of_turn(transaction, key, turn_id)
            return kept + pieces.entries_of_pieces(transaction, key, turn_id)

        return await self._database.read(select)

    async def find_ask_closed(self, conversation_id: str, ask_id: str) -> AskClosed | None:
        """Return how an ask in the history was settled; None if there was no such ask."""

        def select(transaction: Transaction) -> AskClosed | None:
            key = conversation_key(transaction, conversation_id)
            for row in transaction.each(_ASKS_CLOSED, key):
                closed = HistoryEntry.FromString(row["data"]).ask_closed
                if closed.ask_id == ask_id:
                    return closed
            return None

        return await self._database.read(select)

    async def newest_entry(self, conversation_id: str) -> str:
        """Return the id of the newest entry that is not of an open turn; empty if there is none."""

        def select(transaction: Transaction) -> str:
            return histories.newest_ended(
                transaction, conversation_key(transaction, conversation_id)
            )

        return await self._database.read(select)
