"""The messages that a session takes, its replies, and the interfaces that it needs."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol, TypeAlias

from actors.protocol.connection import Connection
from actors.protocol.effects import Limit
from actors.protocol.encoding import Encode, EncodeStream
from actors.protocol.failure import Failure
from actors.protocol.frames import Completed, Frame, Message
from actors.protocol.gathering import SEVERAL, Gathering
from actors.protocol.limits import SessionLimits
from actors.protocol.memory import Budget
from actors.requests.registry import Registry
from actors.runtime.ask import Reply
from actors.runtime.log import Log

if TYPE_CHECKING:
    from actors.sessions.session import SessionActor


class Outbox:
    """A connection's access to the output of its session, until another connection takes over."""

    __slots__ = ("_connection", "_gathering", "_session")

    def __init__(self, session: "SessionActor", connection: Connection) -> None:
        self._session = session
        self._connection = connection
        self._gathering: Gathering | None = None

    def take(self, at_most: int, now: Callable[[], float] | None = None) -> list[bytes]:
        """Return frames to send, in order, of up to `at_most` bytes, and let waiting streams go on.

        A single longer frame is returned alone. If frames are left, the connection is woken again.
        now: if given and waiting for more is worthwhile (`Gathering`), nothing is taken and the
        connection is woken in the next turn.
        """
        session, connection = self._session, self._connection
        if session.connection is not connection:
            return []
        output = session.machine.output
        queue = output.queue
        replay = output.replay
        if queue.sequence - replay.last >= SEVERAL and now is not None and not queue.urgent:
            if self._gathering is None:
                self._gathering = Gathering()
            if self._gathering.goes_on(output, now):
                connection.wake()
                return []
        frames = queue.take(at_most, replay)  # `Output.take` inlined
        output.flow.note_taken()
        if queue.more:
            connection.wake()
        if output.flow.awaited:
            session.unblock()
        return frames

    @property
    def has_more(self) -> bool:
        """Return whether there is something to send."""
        session = self._session
        return session.connection is self._connection and session.machine.output.queue.has_some


@dataclass(slots=True)
class Attached:
    """The connection now carries the session. resumed: every answer the client lacks follows."""

    session: str
    resumed: bool
    last_request_id: int
    outbox: Outbox


@dataclass(slots=True)
class Attach:
    """Have this connection carry the session, replacing any other.

    last_sequence: the highest answer that the client has handled; None if the session is new to it.
    features: the names of features that this client understands.
    The reply is None if some of the answers after it are lost; the session has then ended.
    """

    connection: Connection
    last_sequence: int | None
    initial_credit: int
    acknowledges: bool
    reply: Reply[Attached | None]
    features: frozenset[str] = frozenset()


@dataclass(slots=True)
class Detach:
    """This connection has ended with this close code."""

    connection: Connection
    code: int
    by_service: bool


@dataclass
class Received:  # no slots, as in Request
    """A frame of `size` bytes, received over this connection."""

    connection: Connection
    frame: Frame
    size: int


@dataclass(slots=True)
class Drain:
    """Refuse new requests; reply once none is in flight."""

    reason: str
    reconnect_after_ms: int
    reply: Reply[None]


@dataclass(slots=True)
class FailAll:
    """End every request with this failure."""

    failure: Failure
    reply: Reply[None]


SessionMessage: TypeAlias = Received | Attach | Detach | Drain | FailAll


class SessionEvent(Enum):
    """What happened to a session, for statistics."""

    LEFT = "left"
    """Its connection has ended, and it waits for another."""
    RESUMED = "resumed"
    TAKEN_OVER = "taken over"
    """Resumed while it still had a connection."""
    NOT_RESUMED = "not resumed"
    """Asked for answers that it no longer held."""
    ENDED_AWAY = "ended away"
    """Ended while it waited for its client to return."""


class SessionWatcher(Protocol):
    """Counts session events and refusals. Methods are called synchronously and must not raise."""

    def record(self, event: SessionEvent) -> None:
        """Count this event of one session."""

    def limited(self, limit: Limit) -> None:
        """Count a request that this limit refused."""


class OnRequestEnd(Protocol):
    """A callback that is told how each request ended."""

    def __call__(
        self, message: str, said: Message | Failure | Completed, first: float, last: float, /
    ) -> None:
        """Record the end of one request. Must not raise.

        message: the request's type. said: its final answer. first, last: seconds from its receipt
        to its first and to its final answer.
        """


@dataclass(frozen=True, slots=True)
class SessionEnvironment:
    """What all sessions share."""

    registry: Registry
    limits: SessionLimits
    encode: Encode
    log: Log
    watcher: SessionWatcher
    on_request_end: OnRequestEnd | None = None
    encode_stream: EncodeStream | None = None
    budget: Budget | None = None
    """What all sessions together may hold; None: no bound beyond that of each session."""
