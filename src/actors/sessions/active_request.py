"""A request in flight, which connects its handler to its session."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from copy import copy
from typing import TYPE_CHECKING, Final, TypeVar

from actors.errors import NoActor
from actors.protocol.answer_stream import NO_STREAM, AnswerStream
from actors.protocol.effects import HOLDS_TOO_MUCH, EndedBy
from actors.protocol.failure import Code, Failure
from actors.protocol.frames import Completed, Input, Message, Notice, Request, Sealed
from actors.requests.duplex import Inputs
from actors.requests.interceptors import Interceptor
from actors.requests.registry import Registration
from actors.requests.request import AnyHandler
from actors.runtime.actor import Actor
from actors.runtime.log import Log
from actors.runtime.ref import ActorRef
from actors.sessions import execution
from actors.sessions.request_memory import RequestMemory
from actors.sessions.request_states import ENDED, ENDING, NEW, OPEN, UNSEEN, Phase, Standing
from actors.sessions.stalls import Stall

if TYPE_CHECKING:
    from actors.runtime.cell import Cell
    from actors.runtime.clock import Clock
    from actors.runtime.deadlines import Deadline
    from actors.sessions.session import SessionActor

M = TypeVar("M")

_FORGOTTEN: Final = Request(0, 0, None)

NO_INPUTS: Final = Failure(Code.INVALID_ARGUMENT, "this request takes no inputs")


class ActiveRequest:
    """A request from receipt to end: its Exchange, and the session's record of it.

    Its states are described in `actors.sessions.request_states`.
    """

    # Slots, not class defaults: with those, each access would cost another lookup.
    __slots__ = (
        "_awaits", "_began", "_ended_by", "_first", "_memory", "_waiter", "deadline", "early",
        "ends_if_stalled", "expiry", "handler", "inputs", "own_cell", "phase", "registration",
        "request", "request_id", "said", "session_actor", "size", "standing", "stream", "task",
    )  # fmt: skip

    def __init__(
        self,
        session: "SessionActor",
        request: Request,
        registration: Registration,
        size: int,
        began: float,
    ) -> None:
        self.session_actor: SessionActor = session
        self._began = began
        self.request: Request = request
        self.request_id: int = request.request_id
        self.size: int = size
        self._memory: RequestMemory | None = None
        self._awaits = False
        self.stream: AnswerStream = NO_STREAM
        """Its answer stream; NO_STREAM until `enter` is called."""
        self.registration: Registration = registration
        self.standing: Standing = UNSEEN
        self.said: Message | Failure | Completed | None = None
        """What it has ended with."""
        self._ended_by: EndedBy | None = None
        self.deadline: float | None = None
        self.expiry: Deadline | None = None
        self.phase: Phase = NEW
        """The state of its task; NEW for a plain function too, which is called and has no task."""
        self.handler: AnyHandler | None = None
        """Set until the request becomes an actor or is over."""
        self.task: asyncio.Task[None] | None = None
        self.own_cell: Cell[object] | None = None
        self.early: list[Message | Sealed] | None = None
        self._first: float | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.ends_if_stalled: Callable[[], bool] | None = None
        self.inputs: Inputs | None = None
        if registration.takes is not None:
            self.inputs = Inputs(
                registration.takes, self._grant, self._run_once, self._hold, self._free
            )

    @property
    def interceptors(self) -> Sequence[Interceptor[Message]]:
        """The interceptors that run around the handler."""
        return self.registration.interceptors

    # -- its handler -------------------------------------------------------------------------

    def make_handler(self) -> AnyHandler:
        """Return a new actor to handle the request; each attempt needs its own."""
        handler = self.registration.factory()
        handler.exchange = self
        handler.request = self.request.payload  # type: ignore[assignment]  # others are refused
        return handler

    begin = execution.begin
    became = execution.became
    kill = execution.kill

    @property
    def cell(self) -> "Cell[object]":
        """Return the request's cell, making the request an actor if necessary. Raises NoActor."""
        if self.own_cell is None and self.handler is None:
            raise NoActor(f"{self.registration.label}: a plain function is not an actor")
        return execution.cell_of(self)

    @property
    def only_once(self) -> bool:
        """Return whether it must not be run again: it has answered, ended or taken an input."""
        return (
            self._first is not None
            or self.said is not None
            or (self.inputs is not None and self.inputs.begun)
        )

    # -- in flight ---------------------------------------------------------------------------

    def enter(self) -> None:
        """Put a request that is UNSEEN in flight, so that it can be found by its id.

        Call it before the request waits, and before anything but its end uses its id. Requests that
        never wait skip this, which makes them a seventh cheaper.
        """
        if self.standing is UNSEEN:
            self.standing = OPEN
            self.session_actor.enter(self)

    def forget_deadline(self) -> None:
        """Cancel the deadline, which must be set; its callback keeps the request alive."""
        assert self.expiry is not None
        self.expiry.met()
        self.expiry = None

    def let_go(self) -> None:
        """Release everything, including the request's bytes.

        That breaks the reference cycle of handler and exchange. A handler that ignored its
        cancellation may still run, but it holds nothing from now on.
        """
        self.standing = ENDED
        if self._memory is not None:
            self._memory.let_go()
        self.request = _FORGOTTEN

    # -- from the client ---------------------------------------------------------------------

    def deliver(self, payload: Message | Sealed | Input, about: str | None = None) -> None:
        """Take a message from the client to this request; end the request if there is no room."""
        if isinstance(payload, Input):
            failure = NO_INPUTS if self.inputs is None else self.inputs.put(payload)
            if failure is not None:
                self.abort(failure)
        elif about is not None and not (self._awaits or self.stream.has_closing(about)):
            pass  # nothing is waiting for it
        elif isinstance(payload, Sealed) and not (
            self.memory.hold(payload.size) or self.memory.hold_one(payload.size)
        ):
            self.abort(HOLDS_TOO_MUCH)
        else:
            execution.tell(self, payload)

    def grants(self, number: int) -> bool:
        """Return whether an input is within the credit and new on this connection."""
        return self.inputs is not None and self.inputs.grants(number)

    def reconnected(self) -> None:
        """Note that inputs may come again, on another connection."""
        if self.inputs is not None:
            self.inputs.newest = 0

    def open(self, sealed: Sealed) -> Message:
        """Return the message in `sealed`, which the handler takes now.

        Raises Failure, INVALID_ARGUMENT, if it cannot be decoded.
        """
        self._free(sealed)
        return sealed.open()

    @asynccontextmanager
    async def awaiting(self) -> AsyncIterator[None]:
        """Accept messages that answer no open ask for as long as the handler waits for one."""
        self._awaits = True
        try:
            yield
        finally:
            self._awaits = False

    @property
    def memory(self) -> RequestMemory:
        """What it holds besides its own bytes; created on first use, as few requests hold any."""
        if self._memory is None:
            is_over = self.standing is UNSEEN or self.standing is ENDED
            self._memory = RequestMemory(self.session_actor.machine.output.flow, over=is_over)
        return self._memory

    def _run_once(self) -> None:
        execution.run_once(self)

    def _hold(self, size: int) -> bool:
        return self.memory.hold(size)

    def _free(self, sealed: Sealed) -> None:
        self.memory.free(sealed.size)

    # -- access to the session ---------------------------------------------------------------

    def actor(self, kind: type[Actor[M]], name: str | None) -> ActorRef[M]:
        """Return the ref of a background actor. Raises NotRegistered."""
        return self.session_actor.registry.actor(kind, name)

    @property
    def clock(self) -> "Clock":
        """The system's time."""
        return self.session_actor.context.clock

    @property
    def session(self) -> str:
        """The session's name."""
        return self.session_actor.name

    @property
    def features(self) -> frozenset[str]:
        """The names of features that the session's client understands."""
        return self.session_actor.features

    @property
    def log(self) -> Log:
        """The log for this request."""
        return self.session_actor.request_log(self.request_id)

    def _sending(self) -> AnswerStream:
        """Enter, and return the answer stream, which is over if the request has ended."""
        self.enter()
        return self.stream

    def _grant(self, limit: int) -> None:
        self._sending().grant(limit)

    def notify(self, notice: Notice) -> None:
        """Send a notice once there is room for it."""
        self._sending().notify(notice)
        self._mark_answered()

    def answer(self, answer: Message) -> bool:
        """Send an answer; return whether there is room for the next."""
        room = self._sending().answer(answer)
        self._mark_answered()
        return room

    def answers(self) -> Callable[[Message], bool]:
        """Return the function to send all later answers with: like `answer`, in fewer steps."""
        return self._sending().answers

    def answer_all(self, answers: Iterator[Message], at_most: int) -> bool:
        """Send at most `at_most` answers while there is room; return whether that was all."""
        stream = self._sending()
        try:
            all_sent = stream.answer_all(answers, at_most)
        finally:
            self._mark_answered()
        if not all_sent:
            self.session_actor.watch_reader()
        return all_sent

    def add_closing(self, key: str, closing: Message) -> None:
        """Send `closing` before the end, unless it is withdrawn first."""
        self._sending().add_closing(key, closing)

    def take_closing(self, key: str) -> bool:
        """Withdraw the pending closing; return False if there is none."""
        return self.stream.take_closing(key)

    def _mark_answered(self) -> None:
        if self._first is None:
            self._first = self.session_actor.now()
            execution.run_once(self)

    # -- room --------------------------------------------------------------------------------

    def has_room(self) -> bool:
        """Return whether one more answer may be sent."""
        return self._sending().has_room()

    async def room(self) -> None:
        """Wait until one more answer may be sent.

        Raises CancelledError if the request has ended.
        """
        self.session_actor.watch_reader()
        ends = self.ends_if_stalled
        stall = None if ends is None else Stall(self.session_actor, self.stream, ends)
        try:
            while not self.has_room():
                if not self.stream.block():
                    raise asyncio.CancelledError  # the handler ignored its cancellation
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter
        finally:
            self._waiter = None
            if stall is not None:
                stall.stop()

    def wake(self) -> None:
        """Let the handler check again whether there is room."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def reserve(self, size: int, at_least: int | None = None) -> int:
        """Wait until the session has room for an answer of `size` bytes, and reserve it.

        Few requests of a session have such a reservation at once, first come, first served; it ends
        with the request. Returns `size`, or `at_least` if there is no room for `size`. Raises
        Failure if the session holds too much.
        """
        self.enter()
        await self.memory.take_turn(self.session_actor.making)
        await self.room()
        if self.memory.hold(size):
            return size
        if at_least is None or not self.memory.hold(at_least):
            raise copy(HOLDS_TOO_MUCH)  # a shared exception would keep each caller's frames
        return at_least

    async def have_room_for(
        self, answer: Message | Failure | Completed
    ) -> Message | Failure | Completed:
        """Wait until there is room for a large end; return it, or the failure that replaces it."""
        assert not isinstance(answer, (Failure, Completed)), "they are never so large"
        self.enter()
        if not self.memory.hold(answer.ByteSize()):
            return HOLDS_TOO_MUCH
        self.stream.lift_limit()
        await self.room()
        return answer

    # -- the end -----------------------------------------------------------------------------

    def end(self, answer: Message | Failure | Completed) -> None:
        """Send the final answer regardless of room. Does nothing once the request has ended."""
        session = self.session_actor
        if self.standing is UNSEEN:
            session.machine.answer_at_once(self.request_id, answer)
            self.ended(answer)
        elif self.stream.end(answer):
            self.ended(answer)
        if self.own_cell is not None:
            self.own_cell.ref.restart_never()
            self.own_cell.finish()
        if session.machine.output.flow.filled:
            session.watch_reader()

    async def finish(self, answer: Message | Failure | Completed) -> None:
        """Send the final answer once there is room for it."""
        if self.session_actor.machine.crowded(answer):
            answer = await self.have_room_for(answer)
        self.end(answer)

    def abort(self, failure: Failure) -> None:
        """End the request with this failure and stop its actor."""
        self.enter()
        self.session_actor.abort(self.request_id, failure)

    @property
    def ended_by(self) -> EndedBy | None:
        """Why it ended; None while it runs."""
        cell = self.own_cell
        if self._ended_by is None and cell is not None and not cell.alive:
            return EndedBy.SESSION  # its parent, which stops or has crashed, has said nothing
        return self._ended_by

    def ended(self, said: Message | Failure | Completed, by: EndedBy = EndedBy.ANSWER) -> None:
        """Record what the request has ended with and why, and report it to `on_request_end`."""
        self.said, self._ended_by = said, by
        self.standing = ENDING if self.standing is OPEN else ENDED
        session, began, first = self.session_actor, self._began, self._first
        if session.on_request_end is None:
            return
        last = session.now() - began
        name = self.registration.name
        session.on_request_end(name, said, last if first is None else first - began, last)

    def stopped(self, failure: Failure, by: EndedBy) -> None:
        """Record that it was ended from outside its actor, and stop the actor."""
        self.ended(failure, by)
        self.kill()
        self.session_actor.watch_reader()

    def refused(self, failure: Failure) -> None:
        """Record that the request is not run, so that its exchange can do nothing more."""
        self.said, self._ended_by, self.standing = failure, EndedBy.SERVICE, ENDED
