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
            self.level = min(self._size, self.level + (now - self.at) * self._rate)
        self.at = now
        missing = min(cost, self._size) - self.level
        return missing / self._rate if missing > _GRAIN * self._size else 0.0

    def take(self, cost: float) -> None:
        """Take tokens that `wait` has found there."""
        self.level = max(self.level - cost, 0.0)


class Gate:
    """What the frames of one session are measured by."""

    __slots__ = ("_all_bytes", "_all_messages", "_bytes", "_messages", "_now")

    def __init__(self, limits: SessionLimits) -> None:
        self._now = -1.0
        messages, burst = limits.messages_per_second, limits.message_burst
        self._messages = TokenBucket(messages, burst)
        self._bytes = TokenBucket(limits.bytes_per_second, limits.byte_burst)
        self._all_messages = TokenBucket(messages * FLOOD, burst * FLOOD)
        self._all_bytes = TokenBucket(limits.bytes_per_second * FLOOD, limits.byte_burst * FLOOD)

    def floods(self, size: int, now: float) -> bool:
        """Count a frame, of any kind; True if it is more than anyone may send."""
        messages, octets = self._all_messages, self._all_bytes
        if now == self._now and messages.level >= 1.0 and octets.level >= size:
            messages.level -= 1.0
            octets.level -= size
            return False
        self._now = now
        if messages.wait(1.0, now) or octets.wait(size, now):
            return True
        messages.take(1.0)
        octets.take(size)
        return False

    def refuse(self, size: int, now: float) -> tuple[Failure, Limit] | None:
        """Count a frame that opens a request, or say why not. One that is refused costs nothing.

        `retry_after_ms` is exact: the same request is admitted then, if no other comes before.
        """
        messages, octets = self._messages, self._bytes
        if now == messages.at == octets.at and messages.level >= 1.0 and octets.level >= size:
            messages.level -= 1.0
            octets.level -= size
            return None
        by_count, by_bytes = self._messages.wait(1.0, now), self._bytes.wait(size, now)
        if not by_count and not by_bytes:
            self._messages.take(1.0)
            self._bytes.take(size)
            return None
        limit = Limit.MESSAGES if by_count >= by_bytes else Limit.BYTES
        what = "requests" if limit is Limit.MESSAGES else "bytes"
        failure = Failure(
            Code.RESOURCE_EXHAUSTED,
            f"too many {what} a second",
            retryable=True,
            retry_after_ms=ceil(max(by_count, by_bytes) * 1000),
        )
        return failure, limit
