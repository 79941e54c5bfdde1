"""Sessions: one actor each, the only owner of its session's machine, parent of its requests.

Sessions ── SessionActor ── request actors
                 │
                 └ SessionMachine, whose outbox the connection drains
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias, TypeVar, cast

from actors.actor import Actor
from actors.ask import Reply
from actors.events import Crashed
from actors.failure import Code, Failure
from actors.frames import Frame, Message, Request
from actors.log import Log
from actors.machine import (
    CANCELLED,
    CRASHED,
    DEADLINE,
    Close,
    Deliver,
    Effect,
    Encode,
    Refused,
    SessionLimits,
    SessionMachine,
    Start,
    Stop,
    Wake,
)
from actors.mailbox import Overflow
from actors.ref import ActorRef, Down
from actors.registry import Registry
from actors.request import AnyHandler
from actors.run import OnRequestEnd, RequestEnd, Run
from actors.supervision import Intensity, Lifecycle, Order, Restart, Supervision

M = TypeVar("M")

ONCE: Final = Lifecycle(
    restart=Restart.TEMPORARY, shutdown=0.0, capacity=64, overflow=Overflow.DROP_NEWEST
)
"""A request: never run again, cancelled at once. What a client sends to it is bounded."""

AGAIN: Final = Lifecycle(
    restart=Restart.TRANSIENT,
    shutdown=0.0,
    capacity=64,
    overflow=Overflow.DROP_NEWEST,
    intensity=Intensity(restarts=3, period=30.0),
)
"""A request that is safe to run again."""

SESSION: Final = Lifecycle(restart=Restart.TEMPORARY, shutdown=5.0, capacity=1024)
"""A session that crashed is gone; its client comes back to a new one (close code 4004)."""

BUSY: Final = Failure(
    Code.RESOURCE_EXHAUSTED, "too many requests of this kind at once", retryable=True
)


class Connection(Protocol):
    """What a session needs of the socket that carries it."""

    def wake(self) -> None:
        """The outbox has something to send."""

    def close(self, code: int, reason: str) -> None:
        """Close the socket, when what is in the outbox has gone out."""


@dataclass(slots=True)
class Attach:
    """This connection carries the session now."""

    connection: Connection


@dataclass(slots=True)
class Detach:
    """The connection has ended. Without resume, the session ends with it."""

    code: int


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


SessionMessage: TypeAlias = Frame | Attach | Detach | Drain | FailAll


@dataclass(frozen=True, slots=True)
class SessionEnvironment:
    """What all sessions share."""

    registry: Registry
    limits: SessionLimits
    encode: Encode
    log: Log
    on_request_end: OnRequestEnd | None = None


class Outbox:
    """The connection's end of a session: what it has to send."""

    __slots__ = ("_session",)

    def __init__(self, session: "SessionActor") -> None:
        self._session = session

    def take(self, at_most: int) -> list[bytes]:
        """Remove at most so many bytes of frames, in order; streams that waited go on."""
        return self._session.take_output(at_most)


class SessionActor(Actor[SessionMessage]):
    """One client's session. Every hook is a plain function: nothing here ever waits."""

    supervision = Supervision(order=Order.TOGETHER)

    def __init__(self, name: str, environment: SessionEnvironment, initial_credit: int) -> None:
        self.name = name
        self.machine = SessionMachine(
            environment.limits, environment.encode, initial_credit=initial_credit
        )
        self.on_request_end = environment.on_request_end
        self._registry = environment.registry
        self._log = environment.log.bind(session=name)
        self._runs: dict[str, Run] = {}
        self._connection: Connection | None = None
        self._drained: list[Reply[None]] = []

    def receive(self, message: SessionMessage) -> None:
        """Take a frame, or word of the connection."""
        match message:
            case Attach(connection):
                self._connection = connection
                connection.wake()
            case Detach():
                self._connection = None
                self._carry_out(self.machine.fail_all(CANCELLED))
                self.context.stop()
            case Drain(reason, reconnect_after_ms, reply):
                self.machine.drain(reason, reconnect_after_ms)
                self._drained.append(reply)
                self._settle_drained()
            case FailAll(failure, reply):
                self._carry_out(self.machine.fail_all(failure))
                reply.send(None)
            case _:
                self._carry_out(self.machine.receive(message))
        self.wake_connection()

    def child_ended(self, down: Down) -> None:
        """A request's actor is no more: whatever became of it, the request has its end."""
        run = self._runs.pop(down.name)
        run.registration.running -= 1
        if run.expiry is not None:
            run.expiry.met()
        if self.machine.gone(run.request_id):
            run.ended(CRASHED)
        self._settle_drained()
        self.wake_connection()

    def stopped(self) -> None:
        """Let go of the connection."""
        for reply in self._drained:
            reply.send(None)
        if self._connection is not None:
            self._connection.wake()

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Start(request):
                    self._start(request)
                case Deliver(request_id, payload):
                    target = self._runs.get(str(request_id))
                    if target is not None:
                        target.deliver(payload)
                case Stop(request_id, failure):
                    run = self._runs.get(str(request_id))
                    if run is not None:
                        run.ended(failure)
                        if run.ref is not None:
                            run.ref.kill()
                case Refused(request, failure):
                    self._tell_refused(request, failure)
                case Wake(request_id):
                    self._runs[str(request_id)].wake()
                case Close(code, reason):
                    if self._connection is not None:
                        self._connection.close(code, reason)

    def _start(self, request: Request) -> None:
        payload = cast(Message, request.payload)
        registration = self._registry.find(type(payload))
        if registration is None:
            self._refuse(request, Failure(Code.UNIMPLEMENTED, "no actor answers this request"))
            return
        run = Run(self, request, registration)
        try:
            handler = run.make_handler()
        except Exception as error:  # noqa: BLE001 - costs this request, and not the session
            path = f"{self.context.path}/{request.request_id}"
            self.context.system.report(Crashed(path, error, type(payload).__name__, None))
            self._refuse(request, CRASHED)
            return
        if handler.at_most is not None and registration.running >= handler.at_most:
            self._refuse(request, BUSY)
            return
        registration.running += 1
        self._runs[str(request.request_id)] = run
        self._set_deadline(run, handler.deadline)
        made: list[AnyHandler] = [handler]
        run.ref = self.context.spawn(
            lambda: made.pop() if made else run.make_handler(),
            name=str(request.request_id),
            lifecycle=AGAIN if handler.restartable else ONCE,
        )

    def _refuse(self, request: Request, failure: Failure) -> None:
        self.machine.end(request.request_id, failure)
        self.machine.gone(request.request_id)
        self._tell_refused(request, failure)

    def _tell_refused(self, request: Request, failure: Failure) -> None:
        if self.on_request_end is not None:
            known = request.payload is not None and not isinstance(request.payload, Failure)
            message = type(request.payload).__name__ if known else "unknown"
            self.on_request_end(RequestEnd(message, failure, 0.0, 0.0))

    def find_actor(self, kind: type[Actor[M]], name: str | None) -> ActorRef[M]:
        """The ref of a long-lived actor. Raises NotRegistered."""
        return self._registry.actor(kind, name)

    def now(self) -> float:
        """The system's time."""
        return self.context.clock.now()

    def _set_deadline(self, run: Run, declared: float | None) -> None:
        seconds = run.request.timeout_ms / 1000 if run.request.timeout_ms else declared
        if seconds is None:
            return
        if declared is not None:
            seconds = min(seconds, declared)
        run.deadline = self.context.clock.now() + seconds
        run.expiry = self.context.system.deadlines.add(
            seconds, lambda: self.abort(run.request_id, DEADLINE)
        )

    def abort(self, request_id: int, failure: Failure) -> None:
        """End a request from outside its actor; harmless once it has ended."""
        self._carry_out(self.machine.fail(request_id, failure))
        self.wake_connection()

    def _settle_drained(self) -> None:
        if self._drained and not self.machine.in_flight:
            for reply in self._drained:
                reply.send(None)
            self._drained.clear()

    def take_output(self, at_most: int) -> list[bytes]:
        """What the connection is to send next."""
        frames = self.machine.take(at_most)
        self._carry_out(self.machine.unblocked())
        return frames

    def wake_connection(self) -> None:
        """There may be something to send."""
        if self._connection is not None and self.machine.outbox_bytes:
            self._connection.wake()

    def request_log(self, request_id: int) -> Log:
        """A log for one request."""
        return self._log.bind(request=request_id)


@dataclass(slots=True)
class Opened:
    """A new session."""

    name: str
    ref: ActorRef[SessionMessage]
    outbox: Outbox


@dataclass(slots=True)
class OpenSession:
    """Make a session for a client that has shown its token."""

    initial_credit: int
    reply: Reply[Opened]


class Sessions(Actor[OpenSession]):
    """The supervisor of all sessions."""

    supervision = Supervision(order=Order.TOGETHER)

    def __init__(self, environment: SessionEnvironment, new_name: Callable[[], str]) -> None:
        self._environment = environment
        self._new_name = new_name

    def receive(self, message: OpenSession) -> None:
        """Start a session and say where it is; none for who has gone meanwhile."""
        if message.reply.done:
            return
        name = self._new_name()
        session = SessionActor(name, self._environment, message.initial_credit)
        ref = self.context.spawn(lambda: session, name=name, lifecycle=SESSION)
        message.reply.send(Opened(name, ref, Outbox(session)))
