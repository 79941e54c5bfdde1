"""A session: one actor, which owns the session's machine and is the parent of its requests.

    Sessions ── SessionActor ── request actors
                     │
                     └ SessionMachine, whose output a connection carries

States, by event (`actors.protocol.effects.ends_session` decides which closes end a session):

    state    | attach                     | connection ends           | window passes
    ---------+----------------------------+---------------------------+--------------
    AWAY     | ATTACHED                   |                           | ended
    ATTACHED | ATTACHED, the old one 4504 | ended by 1000, 4500, ...; |
             |                            | AWAY by all others        |

A session that cannot resume from where it is asked to ends as well. What comes from a connection
other than the attached one is dropped: a takeover fences off the old one.
"""

import asyncio
from math import inf
from typing import TYPE_CHECKING

from actors.protocol.close_codes import CloseCode
from actors.protocol.effects import (
    CANCELLED,
    CRASHED,
    DEADLINE,
    Close,
    Deliver,
    Effect,
    EndedBy,
    Limit,
    Refused,
    Stop,
    Wake,
    WakeMore,
    ends_session,
)
from actors.protocol.failure import Code, Failure
from actors.protocol.frames import Request
from actors.protocol.machine import SessionMachine
from actors.requests.request import AnyHandler
from actors.runtime.actor import Actor
from actors.runtime.crashes import is_crash
from actors.runtime.events import Crashed
from actors.runtime.log import Log
from actors.runtime.supervision import Down, Order, Supervision, Tally
from actors.sessions.active_request import ActiveRequest
from actors.sessions.details import describe
from actors.sessions.messages import (
    Attach,
    Attached,
    Detach,
    Drain,
    FailAll,
    OnRequestEnd,
    Outbox,
    Received,
    SessionEnvironment,
    SessionEvent,
    SessionMessage,
)
from actors.sessions.policies import AGAIN, BUSY, MAKING, ONCE, UNCLAIMED
from actors.sessions.request_states import ENDED
from actors.sessions.stalls import ReaderWatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.protocol.connection import Connection
    from actors.protocol.limits import SessionLimits
    from actors.requests.registry import Registry
    from actors.runtime.ask import Reply
    from actors.runtime.cell import Cell
    from actors.runtime.deadlines import Deadline
    from actors.sessions.execution import FirstSteps


class SessionActor(Actor[SessionMessage]):
    """One client's session. Every hook is a plain function: nothing here ever waits."""

    supervision = Supervision(order=Order.TOGETHER)
    describe = describe

    def __init__(
        self,
        name: str,
        environment: SessionEnvironment,
        away: "dict[str, SessionActor] | None" = None,
    ) -> None:
        # In the order of use: an instance stores attributes in the order they are first set.
        self.connection: Connection | None = None
        self._closing = False
        self.now: Callable[[], float] = float
        """The system's time; set in `started`."""
        self.machine: SessionMachine[ActiveRequest] = SessionMachine(
            environment.limits,
            environment.encode,
            environment.encode_stream,
            environment.budget,
            environment.registry.beyond_limit,
        )
        self._registrations = environment.registry.by_message
        self.on_request_end: OnRequestEnd | None = environment.on_request_end
        self._tally = Tally()
        self.name: str = name
        self._away = {} if away is None else away
        """All sessions that wait for their client, the longest-waiting first."""
        self.limits: SessionLimits = environment.limits
        self.features: frozenset[str] = frozenset()
        """What the client of the newest connection understands."""
        self._watcher = environment.watcher
        self.registry: Registry = environment.registry
        self._log = environment.log
        self.first_steps: FirstSteps | None = None
        """The requests whose first step waits for a turn of the loop; made on first use."""
        self._window: Deadline | None = None
        self._left = False
        self.reader: ReaderWatch | None = None
        """Watches for acknowledgements while the buffer is full."""
        self._drained: list[Reply[None]] | None = None
        self._making: asyncio.Semaphore | None = None

    def started(self) -> None:
        """Wait for the first connection as for any later one."""
        self.now = self.context.clock.now
        self._tally = self.context.tally
        self._await_return(max(self.limits.resume_window, UNCLAIMED))

    def receive(self, message: SessionMessage) -> None:
        """Handle a frame or a message about connections."""
        if isinstance(message, Received):  # nearly always
            if message.connection is self.connection and not self._closing:
                frame, now = message.frame, self.now()
                if isinstance(frame, Request):
                    effects = self.machine.admit(frame, message.size, now)
                    if effects is None:
                        self._start(frame, message.size, now)
                    else:
                        self._carry_out(effects)
                else:
                    self._carry_out(self.machine.receive(frame, message.size, now))
            return
        match message:
            case Attach():
                self._attach(message)
            case Detach(connection, code, by_service):
                if connection is self.connection:
                    self._detach(code, by_service)
            case Drain(reason, reconnect_after_ms, reply):
                self._carry_out(self.machine.drain(reason, reconnect_after_ms))
                self._drained = [*(self._drained or ()), reply]
                self._settle_drained()
            case FailAll(failure, reply):
                self._carry_out(self.machine.fail_all(failure))
                reply.send(None)

    # -- connections -------------------------------------------------------------------------

    def _attach(self, message: Attach) -> None:
        if message.reply.done:
            return  # the caller has given up
        after = message.last_sequence
        possible = after is None or self.machine.resume(after)
        if self.connection is not None:
            self.connection.close(CloseCode.TAKEN_OVER, "another connection took over the session")
        if not possible:
            self._watcher.record(SessionEvent.NOT_RESUMED)
            self.connection = None
            self._end()
            message.reply.send(None)
            return
        if after is not None:
            taken_over = self.connection is not None
            self._watcher.record(SessionEvent.TAKEN_OVER if taken_over else SessionEvent.RESUMED)
        self._left = self._closing = False
        self._away.pop(self.name, None)
        self._stop_waiting()
        self.features = message.features
        connection = self.connection = message.connection
        effects = self.machine.attach(
            initial_credit=message.initial_credit,
            acknowledges=message.acknowledges,
            connection=connection,
        )
        outbox = Outbox(self, connection)
        message.reply.send(
            Attached(self.name, after is not None, self.machine.last_request_id, outbox)
        )
        self._carry_out(effects)
        self.watch_reader()

    def _detach(self, code: int, by_service: bool) -> None:
        self.connection = None
        self.machine.detach()
        if ends_session(code, by_service=by_service):
            self._end()
            return
        self._left = True
        self._away[self.name] = self
        self._watcher.record(SessionEvent.LEFT)
        self._await_return(self.limits.resume_window)

    def close(self, code: int, reason: str) -> None:
        """Close the connection; ignore whatever else it has sent."""
        assert self.connection is not None, "what is handled came over one"
        self._closing = True
        self.connection.close(code, reason)

    def _await_return(self, seconds: float) -> None:
        self._window = self.context.system.deadlines.add(seconds, self._end)

    def _stop_waiting(self) -> None:
        for waiting in (self._window, self.reader):
            if waiting is not None:
                waiting.met()
        self._window = self.reader = None

    @property
    def idle(self) -> bool:
        """Return whether no request is in flight."""
        return not self.machine.requests

    def give_way(self) -> None:
        """End, to make room for a new session."""
        self._away.pop(self.name, None)
        self._end()

    def _end(self) -> None:
        """End the session and cancel what is in flight."""
        self._carry_out(self.machine.fail_all(CANCELLED, EndedBy.SESSION))
        self.context.stop()

    def watch_reader(self) -> None:
        """Start watching for the client's Ack if the buffer is full without it."""
        if self.reader is None and self.machine.unacknowledged:
            self.reader = ReaderWatch(self)

    # -- requests ----------------------------------------------------------------------------

    def child_ended(self, down: Down) -> None:
        """Ensure that a request whose actor is gone has its end."""
        # None if it crashed after it had been answered at once.
        active = self.machine.requests.get(int(down.name))
        if active is not None and self._forget(active):
            active.ended(CRASHED)
            self.watch_reader()
        self._settle_drained()

    def _forget(self, active: ActiveRequest) -> bool:
        """Forget a request with nothing left to do; return whether it crashed (had not ended)."""
        active.registration.running -= 1
        active.let_go()
        if active.expiry is not None:
            active.forget_deadline()
        return self.machine.gone(active)

    def stopped(self) -> None:
        """Release what the session holds, and wake its connection."""
        self._stop_waiting()
        self._away.pop(self.name, None)
        self.machine.account.close()
        if self._left:
            self._watcher.record(SessionEvent.ENDED_AWAY)
        if self.connection is not None:
            self.connection.wake()

    def _carry_out(self, effects: list[Effect]) -> None:
        requests = self.machine.requests
        for effect in effects:
            match effect:
                case Deliver(request_id, payload, about):
                    requests[request_id].deliver(payload, about)
                case Stop(request_id, failure, by):
                    requests[request_id].stopped(failure, by)
                case Refused(request, failure, limit):
                    self._tell_refused(request, failure, limit)
                case Wake(request_id):
                    requests[request_id].wake()
                case WakeMore():
                    asyncio.get_running_loop().call_soon(self.unblock)
                case Close(code, reason):
                    self.close(code, reason)
                    if ends_session(code, by_service=True):
                        self._end()

    def _start(self, request: Request, size: int, now: float) -> None:
        kind = type(request.payload)
        registration = self._registrations.get(kind)  # type: ignore[arg-type]  # None was refused
        if registration is None:
            self._refuse(request, Failure(Code.UNIMPLEMENTED, "no actor answers this request"))
            return
        active = ActiveRequest(self, request, registration, size, now)
        try:
            handler = active.make_handler()
        except BaseException as error:
            if not is_crash(error):  # a crash ends this request, not the session
                raise
            path = f"{self.context.path}/{request.request_id}"
            self.context.system.report(Crashed(path, error, kind.__name__, None))
            self._refuse(request, CRASHED)
            return
        if handler.at_most is not None and registration.running >= handler.at_most:
            active.refused(BUSY)
            self._refuse(request, BUSY, Limit.TYPE)
            return
        if request.timeout_ms or handler.deadline is not None:
            self._set_deadline(active, handler.deadline)
        active.begin(handler)

    def enter(self, active: ActiveRequest) -> None:
        """Put a request in flight, with an answer stream, until it has nothing more to do."""
        handler = active.handler  # None for a plain function, which cannot wait
        self.machine.open(active, endless=handler is not None and handler.endless)
        active.registration.running += 1

    @property
    def making(self) -> asyncio.Semaphore:
        """Return the semaphore for requests that make large answers, first come, first served."""
        if self._making is None:
            self._making = asyncio.Semaphore(MAKING)
        return self._making

    @property
    def alive(self) -> bool:
        """Return whether the session has not begun to stop."""
        return self.context.ref.alive

    def adopt(
        self, active: ActiveRequest, handler: AnyHandler, task: asyncio.Task[None]
    ) -> "Cell[object]":
        """Make an actor of a request that runs in this task."""
        return self.context.adopt(
            handler,
            active.make_handler,
            name=str(active.request_id),
            lifecycle=AGAIN if handler.restartable else ONCE,
            task=task,
        )

    def passed(self, active: ActiveRequest) -> None:
        """Record that a request has ended without becoming an actor."""
        self._tally.started += 1
        self._tally.stopped += 1
        if active.standing is not ENDED:
            self._forget(active)
            if self._drained:
                self._settle_drained()
        elif active.expiry is not None:
            active.forget_deadline()

    def _refuse(self, request: Request, failure: Failure, limit: Limit | None = None) -> None:
        self.machine.answer_at_once(request.request_id, failure)
        self._tell_refused(request, failure, limit)

    def _tell_refused(self, request: Request, failure: Failure, limit: Limit | None) -> None:
        self.watch_reader()
        if limit is not None:
            self._watcher.limited(limit)
        if self.on_request_end is not None:
            known = request.payload is not None and not isinstance(request.payload, Failure)
            message = type(request.payload).__name__ if known else "unknown"
            self.on_request_end(message, failure, 0.0, 0.0)

    def _set_deadline(self, active: ActiveRequest, declared: float | None) -> None:
        asked = active.request.timeout_ms / 1000 if active.request.timeout_ms else inf
        seconds = min(asked, inf if declared is None else declared)
        active.deadline = self.context.clock.now() + seconds
        active.expiry = self.context.system.deadlines.add(
            seconds, lambda: self.abort(active.request_id, DEADLINE, EndedBy.DEADLINE)
        )

    def abort(self, request_id: int, failure: Failure, by: EndedBy = EndedBy.SERVICE) -> None:
        """End a request from outside its actor. Does nothing once the request has ended.

        While a batch is being numbered, this happens right afterwards.
        """
        if self.machine.output.queue.numbering:
            asyncio.get_running_loop().call_soon(self.abort, request_id, failure, by)
            return
        self._carry_out(self.machine.fail(request_id, failure, by))

    def _settle_drained(self) -> None:
        if self._drained and not self.machine.in_flight:
            for reply in self._drained:
                reply.send(None)
            self._drained = None

    def unblock(self) -> None:
        """Let requests that waited for room go on, after something has been sent."""
        self._carry_out(self.machine.unblocked())

    def request_log(self, request_id: int) -> Log:
        """Return a log for one request."""
        return self._log.bind(session=self.name, request=request_id)
