"""What sessions hold in memory, and how much of it each may.

Everything is counted as encoded bytes: answers that wait for the socket or for a replay, requests
that have not ended, input that no handler has taken, room that is reserved for an answer.

The budget is shared by dynamic thresholds (Choudhury and Hahne, "Dynamic Queue Length Thresholds
for Shared-Memory Packet Switches", 1998): a session may hold as much as is free. While little is
held, only the limit of a session matters. As the free part shrinks, the sessions that hold most
reach the threshold first and are refused, and the others still find room.
"""

from typing import Final

STEP: Final = 64 * 1024
"""Bytes by which the count of a session may lag behind: counting each answer would cost more.

A session may hold this much however little is free, so that each can always go on.
"""


class Budget:
    """The bytes that all sessions may hold together."""

    __slots__ = ("held", "limit")

    def __init__(self, limit: int) -> None:
        self.limit: int = limit
        self.held: int = 0
        """What is held now, accurate to STEP a session."""


class Account:
    """What one session holds, in bytes.

    `input_bytes` is for the owner to change: requests in flight, input not taken yet, reservations.
    While the sum of it and the bytes of the answers is from `low` up to `high`, there is nothing to
    do; outside of that, `count` is to be called.
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
        """Enter what is held now; return the bytes that the session may hold in all."""
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
        """Give everything back: the session has ended.

        Its connection still takes what is left, and a handler that ignored its cancellation may
        still run. What they count from now on is not part of the budget any more.
        """
        self._budget.held -= self._counted
        self._counted = 0
        self._budget = Budget(self._budget.limit)
