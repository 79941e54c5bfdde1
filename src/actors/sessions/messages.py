"""What a session is told, what it answers, and what it needs of those around it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol, TypeAlias

from actors.protocol.connection import Connection
from actors.protocol.effects import Limit
from actors.protocol.encoding import Encode, EncodeStream
from actors.protocol.failure import Failure
from actors.protocol.frames import Completed, Frame, Message
from actors.protocol.gathering import Gathering
from actors.protocol.limits import SessionLimits
from actors.protocol.memory import Budget
from actors.requests.registry import Registry
from actors.runtime.ask import Reply
from actors.runtime.log import Log

if TYPE_CHECKING:
    from actors.sessions.session import SessionActor


class Outbox:
    """A connection's end of a session: what it has to send, until another takes over."""

    __slots__ = ("_connection", "_gathering", "_session")

    def __init__(self, session: "SessionActor", connection: Connection) -> None:
        self._session = session
        self._connection = connection
        self._gathering: Gathering | None = None

    def take(self, at_most: int, now: Callable[[], float] | None = None) -> list[bytes]:
        """Frames to send, in order, of at most so many bytes; streams that waited go on.

        Where that is not all, the connection is woken again. now: if given, nothing is taken while
        more is worth a wait (`Gathering`), and the connection is woken in the next turn.
        """
        session, connection = self._session, self._connection
        if session.connection is not connection:
            return []
        output = session.machine.output
        queue = output.queue
        if now is not None and not queue.urgent:
            if self._gathering is None:
                self._gathering = Gathering()
            if self._gathering.goes_on(output, now):
                connection.wake()
                return []
        frames = output.take(at_most)
        if queue.more:
            connection.wake()
        if output.flow.awaited:
            session.unblock()
        return frames

    @property
    def has_more(self) -> bool:
        """There is something to send."""
        session = self._session
        return session.connection is self._connection and session.machine.output.queue.has_some


@dataclass(slots=True)
class Attached:
    """The connection carries the session now. resumed: and every answer that it lacked follows."""

    session: str
    resumed: bool
    last_request_id: int
    outbox: Outbox


@dataclass(slots=True)
class Attach:
    """Have this connection carry the session, in place of any other.

    last_sequence: the highest answer that the client has handled; None: the session is new to it.
    Replied None: not every answer after it is there; the session has ended.
    """

    connection: Connection
    last_sequence: int | None
    initial_credit: int
    acknowledges: bool
    reply: Reply[Attached | None]


@dataclass(slots=True)
class Detach:
    """This connection has ended, with this close code."""

    connection: Connection
    code: int
    by_service: bool


@dataclass
class Received:  # without slots, as a Request
    """A frame of so many bytes that came over this connection."""

    connection: Connection
    frame: Frame
    size: int


@dataclass(slots=True)
class Drain:
    """Take no new requests; reply when none is in flight."""

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
    """What can become of a session, for who counts."""

    LEFT = "left"
    """Its connection has ended; it waits for another."""
    RESUMED = "resumed"
    TAKEN_OVER = "taken over"
    """Resumed, while it still had a connection."""
    NOT_RESUMED = "not resumed"
    """Asked for an answer that it no longer had."""
    ENDED_AWAY = "ended away"
    """Ended while it waited for a connection."""


class SessionWatcher(Protocol):
    """Who counts what becomes of sessions. Called at once; must not raise."""

    def record(self, event: SessionEvent) -> None:
        """It happened to one session."""

    def limited(self, limit: Limit) -> None:
        """A request was refused by this limit."""


class OnRequestEnd(Protocol):
    """Who hears how each request went."""

    def __call__(
        self, message: str, said: Message | Failure | Completed, first: float, last: float, /
    ) -> None:
        """One has ended. Must not raise.

        message: the type of what was asked. said: its last answer. first, last: seconds from its
        receipt to its first and its last answer.
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
    """What all sessions may hold together; None: as much as each may."""
