"""Remember how much of each conversation fits into the model's context.

The API does not report the size of the context; it is learned when a server refuses a conversation
as too long.
"""

from typing import Final

from callboard_service.store.store import RecentTurns

MAX_REMEMBERED: Final = 1000
"""Maximum remembered conversations; the one added first is forgotten first."""


class Fitting:
    """Remembers how many bytes to send of each conversation that was too long."""

    def __init__(self) -> None:
        self._bytes: dict[str, int] = {}

    def __contains__(self, conversation_id: str) -> bool:
        return conversation_id in self._bytes

    def bytes_of(self, conversation_id: str, otherwise: int) -> int:
        """Return how many bytes to send; `otherwise` if the conversation was never too long."""
        return self._bytes.get(conversation_id, otherwise)

    def halve(self, conversation_id: str, turns: RecentTurns) -> RecentTurns:
        """Return the newer half of turns that were too long, and remember its size.

        The result starts with a user turn and contains at least the last turn.
        """
        sizes = turns.sizes()
        half, left, start = sum(sizes) // 2, sum(sizes), 0
        while start < len(turns) - 1 and (left > half or turns[start][0] != "user"):
            left -= sizes[start]
            start += 1
        if len(self._bytes) >= MAX_REMEMBERED:
            self._bytes.pop(next(iter(self._bytes)))
        self._bytes[conversation_id] = max(half, 1)
        return turns.since(start)
