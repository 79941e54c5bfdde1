"""The limits of one session, and the token buckets that enforce its rates."""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, inf
from typing import Final

from actors.protocol.effects import Limit
from actors.protocol.failure import Code, Failure

FLOOD: Final = 10
"""The bucket for all other frames is this many times the size of the one for requests."""

_GRAIN: Final = 1e-6
"""Seconds of rounding error to allow for; a clock that counts from boot has large values."""


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """The limits of one session. Times are in seconds; a rate of 0 means no limit.

    messages_per_second, message_burst, bytes_per_second, byte_burst: token buckets for requests;
    all other frames, including refused requests, get ten times as much. outbox_bytes: answers
    waiting for the socket; beyond this, streams wait. resume_window: how long a session without a
    connection is kept; resume_buffer_messages and resume_buffer_bytes: how many of its answers are
    kept for a replay. slow_consumer: how long a client may leave a full buffer unacknowledged, or
    the socket unread. max_answer_bytes: the largest frame that is sent to a client.
    max_session_bytes: the most that the session may hold, in encoded bytes of both directions
    (`actors.protocol.memory`).
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
    max_answer_bytes: int = 8 * 1024 * 1024
    max_session_bytes: int = 32 * 1024 * 1024


class Rates:
    """The rates that a Meter enforces, shared by all sessions; per second, 0 meaning no limit."""

    __slots__ = ("burst_seconds", "byte_burst", "byte_burst_seconds", "byte_seconds", "seconds")

    def __init__(self, messages: float, burst: int, octets: float, octet_burst: int) -> None:
        self.byte_burst: int = octet_burst
        self.seconds: float = 1.0 / messages if messages else 0.0
        """Per message."""
        self.burst_seconds: float = burst * self.seconds + _GRAIN
        self.byte_seconds: float = 1.0 / octets if octets else 0.0
        """Per byte."""
        self.byte_burst_seconds: float = octet_burst * self.byte_seconds + _GRAIN


class Meter:
    """Two token buckets, one for messages and one for their bytes; each message draws from both.

    A bucket starts full, holds at most its burst and is refilled at its rate. It is stored as the
    time at which it will be full again, a single number that needs no refilling: the generic cell
    rate algorithm (ITU-T I.371, annex A), which is equivalent to counting tokens. Time must not go
    backwards.
    """

    __slots__ = ("_bytes_full_at", "_full_at", "_rates")

    def __init__(self, rates: Rates) -> None:
        self._rates = rates
        self._full_at = -inf
        self._bytes_full_at = -inf

    def draw(self, size: int, now: float) -> bool:
        """Take a message of `size` bytes; return False, taking nothing, if there is no room.

        A message larger than the byte bucket needs a full bucket.
        """
        rates = self._rates
        full_at, bytes_full_at = self._full_at, self._bytes_full_at
        if full_at < now:
            full_at = now
        full_at += rates.seconds
        if bytes_full_at < now:
            bytes_full_at = now
        if size > rates.byte_burst:
            size = rates.byte_burst
        bytes_full_at += size * rates.byte_seconds
        if full_at - now > rates.burst_seconds or bytes_full_at - now > rates.byte_burst_seconds:
            return False
        self._full_at, self._bytes_full_at = full_at, bytes_full_at
        return True

    def wait(self, size: int, now: float) -> tuple[float, float]:
        """Return the seconds until a message of `size` bytes fits by count, and by bytes.

        Both assume that no other message comes in the meantime.
        """
        rates = self._rates
        cost = min(size, rates.byte_burst) * rates.byte_seconds
        return (
            _until(max(self._full_at, now) + rates.seconds - now - rates.burst_seconds),
            _until(max(self._bytes_full_at, now) + cost - now - rates.byte_burst_seconds),
        )


def _until(missing: float) -> float:
    return missing + _GRAIN if missing > 0 else 0.0


@lru_cache(maxsize=16)
def _rates(limits: SessionLimits) -> tuple[Rates, Rates]:
    """Return the rates for requests and for other frames, cached so that all sessions share them.

    Sharing keeps what every message reads in the CPU cache.
    """
    messages, burst = limits.messages_per_second, limits.message_burst
    octets, octet_burst = limits.bytes_per_second, limits.byte_burst
    return (
        Rates(messages, burst, octets, octet_burst),
        Rates(messages * FLOOD, burst * FLOOD, octets * FLOOD, octet_burst * FLOOD),
    )


class Gate:
    """The meters for the frames of one session."""

    __slots__ = ("frames", "requests")

    def __init__(self, limits: SessionLimits) -> None:
        requests, frames = _rates(limits)
        self.requests: Meter = Meter(requests)
        """For frames that open a request which is then run."""
        self.frames: Meter = Meter(frames)
        """For all other frames; exceeding it is abuse of the service."""

    def refusal(self, size: int, now: float) -> tuple[Failure, Limit]:
        """Return the failure and the limit for a request that `requests` has no room for.

        `retry_after_ms` is exact: the same request is admitted then, if no other comes before it.
        """
        by_count, by_bytes = self.requests.wait(size, now)
        limit = Limit.MESSAGES if by_count >= by_bytes else Limit.BYTES
        what = "requests" if limit is Limit.MESSAGES else "bytes"
        failure = Failure(
            Code.RESOURCE_EXHAUSTED,
            f"too many {what} per second",
            retryable=True,
            retry_after_ms=ceil((max(by_count, by_bytes) - _GRAIN / 2) * 1000),
        )
        return failure, limit
