"""Finds the session for a Hello that has shown the token: its own, or a new one."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Final

from actors.errors import ActorError
from actors.protocol.connection import Connection
from actors.protocol.limits import SessionLimits
from actors.requests.duplex import INPUT_WINDOW
from actors.runtime.ref import ActorRef
from actors.sessions.messages import Attach, Attached, SessionMessage
from actors.sessions.session_supervisor import FindSession, Opened, OpenSession, SessionsMessage
from callboard.v1 import session_pb2

OPEN_TIMEOUT: Final = 5.0
"""Seconds that a session has to take a connection."""

MAX_FEATURES: Final = 64
"""Names in Hello.features; those after them are ignored."""

MAX_FEATURE_NAME: Final = 64
"""Characters of a name in Hello.features; a longer one is ignored."""


@dataclass(frozen=True, slots=True)
class Joined:
    """A connection's session."""

    session: ActorRef[SessionMessage]
    resume_token: bytes
    attached: Attached


class Full(Exception):
    """There are as many sessions as there may be."""


async def take_up(
    sessions: ActorRef[SessionsMessage], hello: session_pb2.Hello, connection: Connection
) -> Joined | None:
    """Attach the connection to the session that the Hello asks to resume.

    Returns None if it asks for none, if the session is not found, or if some of the answers that
    the client lacks are lost; in the last case the session has ended.
    """
    if not hello.HasField("resume"):
        return None
    resume = hello.resume
    try:
        opened: Opened | None = await sessions.ask(
            lambda reply: FindSession(resume.resume_token, reply), timeout=OPEN_TIMEOUT
        )
        if opened is None:
            return None
        return await _attach(opened, hello, connection, resume.last_sequence)
    except ActorError:  # it has crashed or is ending
        return None


async def open_new(
    sessions: ActorRef[SessionsMessage], hello: session_pb2.Hello, connection: Connection
) -> Joined | None:
    """Attach the connection to a new session; return None if the service is ending. Raises Full."""
    try:
        opened = await sessions.ask(OpenSession, timeout=OPEN_TIMEOUT)
        if opened is None:
            raise Full
        return await _attach(opened, hello, connection, None)
    except ActorError:
        return None


async def _attach(
    opened: Opened, hello: session_pb2.Hello, connection: Connection, after: int | None
) -> Joined | None:
    attached: Attached | None = await opened.ref.ask(
        lambda reply: Attach(
            connection, after, hello.initial_credit, hello.acknowledges, reply, features_of(hello)
        ),
        timeout=OPEN_TIMEOUT,
    )
    return None if attached is None else Joined(opened.ref, opened.resume_token, attached)


def features_of(hello: session_pb2.Hello) -> frozenset[str]:
    """Return the features that the client names, as long as there are not too many of them.

    A session keeps them, and a client must not have it keep more than a few KiB.
    """
    named = islice(hello.features, MAX_FEATURES)
    return _shared(tuple(name for name in named if len(name) <= MAX_FEATURE_NAME))


@lru_cache(maxsize=64)
def _shared(names: tuple[str, ...]) -> frozenset[str]:
    """Return the names as a set, which sessions whose clients name the same share."""
    return frozenset(names)


def limits_of(
    limits: SessionLimits, max_message_bytes: int, heartbeat: float, max_queued_turns: int
) -> session_pb2.Limits:
    """Return the limits in the form in which the client receives them."""
    return session_pb2.Limits(
        max_message_bytes=max_message_bytes,
        max_requests_in_flight=limits.max_requests_in_flight,
        messages_per_second=limits.messages_per_second,
        message_burst=limits.message_burst,
        heartbeat_interval_ms=round(heartbeat * 1000),
        resume_window_ms=round(limits.resume_window * 1000),
        resume_buffer_messages=limits.resume_buffer_messages,
        resume_buffer_bytes=limits.resume_buffer_bytes,
        bytes_per_second=limits.bytes_per_second,
        byte_burst=limits.byte_burst,
        input_window=INPUT_WINDOW,
        max_answer_bytes=limits.max_answer_bytes,
        max_queued_turns=max_queued_turns,
    )
