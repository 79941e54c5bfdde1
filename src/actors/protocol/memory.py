"""Accounts for the memory that sessions hold, and limits the share of each.

Everything is counted in encoded bytes: answers waiting for the socket or kept for a replay,
requests that have not ended, input that no handler has taken, and room reserved for an answer.

The budget is shared by dynamic thresholds (Choudhury and Hahne, "Dynamic Queue Length Thresholds
for Shared-Memory Packet Switches", 1998): a session may hold as much as is free. While little is
held, only the per-session limit matters. As free memory shrinks, the sessions that hold the most
reach the threshold first and are refused, and the others still find room.
"""

from typing import Final

STEP: Final = 64 * 1024
"""Bytes by which a session's count may lag behind: counting each answer would cost more.

A session may hold this much however little is free, so that every session can make progress.
"""


class Budget:
    """The bytes that all sessions together may hold."""

    __slots__ = ("held", "limit")

    def __init__(self, limit: int) -> None:
        self.limit: int = limit
        self.held: int = 0
        """Bytes held now, accurate to STEP per session."""


class Account:
    """The bytes that one session holds.

    The owner updates `input_bytes`: requests in flight, input not taken yet, and reservations.
    While the sum of it and the answers' bytes is at least `low` and below `high`, nothing needs to
    be done; otherwise `count` must be called.
    """

    __slots__ = ("_budget", "_counted", "_limit", "high", "input_bytes", "low")

    def __init__(self, limit: int, budget: Budget) -> None:
        self._limit = limit
        self._budget = budget
        self._counted = 0
        self.input_bytes: int = 0
        self.low: int = -1
        self.high: int = min(STEP, limit)

    def count(self, answer_bytes: int) -> int:
        """Record what is held now; return the bytes that the session may hold in total."""
        held = answer_bytes + self.input_bytes
        budget = self._budget
        budget.held += held - self._counted
        self._counted = held
        allowed = min(self._limit, max(STEP, budget.limit - budget.held))
        self.low, self.high = held - STEP, min(held + STEP, allowed)
        return allowed

    def has_room(self, answer_bytes: int, more: int) -> bool:
        """Return whether the session may hold `more` bytes besides what it holds now."""
        allowed = self.count(answer_bytes)
        return answer_bytes + self.input_bytes + more <= allowed

    def close(self) -> None:
        """Return everything to the budget: the session has ended.

        Its connection may still take what is left, and a handler that ignored its cancellation may
        still run. What they count from now on no longer affects the budget.
        """
        self._budget.held -= self._counted
        self._counted = 0
        self._budget = Budget(self._budget.limit)
