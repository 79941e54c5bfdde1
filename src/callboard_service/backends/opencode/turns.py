"""The turns of OpenCode's conversations: the server keeps the messages, this service the turns."""

from collections.abc import Awaitable, Callable

from callboard_service.backends.stored import StoredConversations
from callboard_service.backends.stored_turns import StoredTurns
from callboard_service.store.turns import KeptTurn


class OpenCodeTurns(StoredTurns):
    """A TurnJournal for conversations that the OpenCode server keeps.

    check: raises Failure, NOT_FOUND, if the server has no such conversation.
    """

    def __init__(
        self, owner: StoredConversations, check: Callable[[str], Awaitable[object]]
    ) -> None:
        super().__init__(owner)
        self._check = check

    async def open_turns(self, conversation_id: str) -> list[KeptTurn]:
        """See `TurnJournal.open_turns`. The server is asked whether the conversation exists."""
        await self._check(conversation_id)
        await self._owner.write(lambda store: store.ensure(conversation_id))
        return await super().open_turns(conversation_id)
