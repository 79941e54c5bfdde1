"""What one session may take, and the token buckets that hold it to that."""

from dataclasses import dataclass
from math import ceil
from typing import Final

from actors.effects import Limit
from actors.failure import Code, Failure

FLOOD: Final = 10
"""The bucket for all frames together is so many times the one for requests."""

_GRAIN: Final = 1e-9


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """What one session may take. Times in seconds; a rate of 0 is no limit.

    messages_per_second, message_burst, bytes_per_second, byte_burst: requests, by token buckets;
    all frames together have ten times as much. outbox_bytes: answers that wait for the socket;
    beyond it streams wait. resume_window: how long a session without a connection is kept, and
    resume_buffer_messages and resume_buffer_bytes how much of its answers. slow_consumer: how
    long a client may leave a full buffer unacknowledged, or the socket unread.
    """

    max_requests_in_flight: int = 256
    messages_per_second: float = 500.0
    message_burst: int = 1000
    bytes_per_second: float = 8.0 * 1024 * 1024
    byte_burst: int = 16 * 1024 * 1024
    outbox_bytes: int = 256 * 1024
    resume_window: float = 120.0
    resume_buffer_messages: int = 4096
    resume_buffer_bytes: int = 4 * 1024 * 1024
    slow_consumer: float = 30.0


class TokenBucket:
    """Holds at most `size` tokens, gets `rate` a second; starts full. A rate of 0: no limit."""

    __slots__ = ("_rate", "_size", "at", "level")

    def __init__(self, rate: float, size: float) -> None:
        self._rate = rate
        self._size = size
        self.level = size
        self.at: float | None = None

    def wait(self, cost: float, now: float) -> float:
        """Seconds until `cost` tokens are there, if nobody takes any; 0: they are now.

        What costs more than the bucket holds needs a full bucket.
        """
        if not self._rate:
            return 0.0
        if self.at is not None and now > self.at:
            level = self.level + (now - self.at) * self._rate
            self.level = min(self._size, level)
        self.at = now
        missing = min(cost, self._size) - self.level
        return missing / self._rate if missing > _GRAIN * self._size else 0.0

    def draw(self, cost: float, now: float) -> bool:
        """`wait`, and `take` if that is 0, in one; False: nothing was taken."""
        if now == self.at and self.level >= cost:
            self.level -= cost
            return True
        if self.wait(cost, now):
            return False
        self.take(cost)
        return True

    def take(self, cost: float) -> None:
        """Take tokens that `wait` has found there."""
        self.level = max(self.level - cost, 0.0)


class Gate:
    """What the frames of one session are measured by."""

    __slots__ = ("_all_bytes", "_all_messages", "_bytes", "_messages")

    def __init__(self, limits: SessionLimits) -> None:
        messages, burst = limits.messages_per_second, limits.message_burst
        self._messages = TokenBucket(messages, burst)
        self._bytes = TokenBucket(limits.bytes_per_second, limits.byte_burst)
        self._all_messages = TokenBucket(messages * FLOOD, burst * FLOOD)
        self._all_bytes = TokenBucket(limits.bytes_per_second * FLOOD, limits.byte_burst * FLOOD)

    def floods(self, size: int, now: float) -> bool:
        """Count a frame, of any kind; True if it is more than anyone may send."""
        return not (self._all_messages.draw(1.0, now) and self._all_bytes.draw(size, now))

    def refuse(self, size: int, now: float) -> tuple[Failure, Limit] | None:
        """Count a frame that opens a request, or say why not. One that is refused costs nothing.

        `retry_after_ms` is exact: the same request is admitted then, if no other comes before.
        """
        if self._messages.draw(1.0, now):
            if self._bytes.draw(size, now):
                return None
            self._messages.level += 1.0
        by_count, by_bytes = self._messages.wait(1.0, now), self._bytes.wait(size, now)
        limit = Limit.MESSAGES if by_count >= by_bytes else Limit.BYTES
        what = "requests" if limit is Limit.MESSAGES else "bytes"
        failure = Failure(
            Code.RESOURCE_EXHAUSTED,
            f"too many {what} a second",
            retryable=True,
            retry_after_ms=ceil(max(by_count, by_bytes) * 1000),
        )
        return failure, limit
