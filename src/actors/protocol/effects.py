"""The effects that a session machine asks for, and the failures that it sends."""

from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from actors.protocol.close_codes import CloseCode
from actors.protocol.failure import Code, Failure
from actors.protocol.frames import Input, Message, Request, Sealed

CANCELLED: Final = Failure(Code.CANCELLED, "the request was cancelled")
DEADLINE: Final = Failure(Code.DEADLINE_EXCEEDED, "the request exceeded its deadline")
CRASHED: Final = Failure(Code.INTERNAL, "the service failed on this request")
UNKNOWN: Final = Failure(Code.UNIMPLEMENTED, "the service does not know this request")
TOO_MANY: Final = Failure(
    Code.RESOURCE_EXHAUSTED, "too many requests at once in this session", retryable=True
)
UNREAD: Final = Failure(
    Code.RESOURCE_EXHAUSTED, "this session has too many unread answers", retryable=True
)
HOLDS_TOO_MUCH: Final = Failure(
    Code.RESOURCE_EXHAUSTED, "this session has reached its memory limit", retryable=True
)


class Limit(Enum):
    """The limit because of which a request was refused."""

    IN_FLIGHT = "in_flight"
    MESSAGES = "messages"
    BYTES = "bytes"
    UNREAD = "unread"
    MEMORY = "memory"
    TYPE = "type"


class EndedBy(Enum):
    """Why a request ended."""

    ANSWER = "answer"
    """By itself: with an answer, with a Failure that its handler raised, or by a crash."""
    CLIENT = "client"
    """Its client cancelled it."""
    SESSION = "session"
    """Its session ended: the client left for good, did not return in time or broke a rule."""
    DEADLINE = "deadline"
    SERVICE = "service"
    """A drain, a shutdown, a limit, or code that called `context.abort`."""


def draining(retry_after_ms: int) -> Failure:
    """Return the failure for a request that a shutdown ends or refuses."""
    return Failure(
        Code.UNAVAILABLE,
        "the service is shutting down",
        retryable=True,
        retry_after_ms=retry_after_ms,
    )


def ends_session(code: int, *, by_service: bool) -> bool:
    """Return whether a close with this code ends the session; otherwise the client may return.

    A client that closes normally has no further use for its session. `close()` in browsers and in
    most WebSocket libraries sends no code unless it is given one; that counts as 1005.
    """
    if not by_service:
        return code in (CloseCode.NORMAL, CloseCode.NO_CODE)
    return 4500 <= code <= 4599 and code != CloseCode.TAKEN_OVER


@dataclass(slots=True)
class Stop:
    """Stop the request's actor: the request has ended with this failure."""

    request_id: int
    failure: Failure
    ended_by: EndedBy = EndedBy.SERVICE


@dataclass(slots=True)
class Refused:
    """The request has ended with this failure without being run. limit: the limit hit, if any."""

    request: Request
    failure: Failure
    limit: Limit | None = None


@dataclass(slots=True)
class Deliver:
    """Hand this message to the request's actor. about: as in `Inform`."""

    request_id: int
    payload: Message | Sealed | Input
    about: str | None = None


@dataclass(slots=True)
class Wake:
    """Wake the request: it has room again."""

    request_id: int


@dataclass(slots=True)
class WakeMore:
    """Look for more requests to wake, in the next turn of the event loop."""


@dataclass(slots=True)
class Close:
    """Close the connection."""

    code: int
    reason: str


Effect: TypeAlias = Stop | Refused | Deliver | Wake | WakeMore | Close
