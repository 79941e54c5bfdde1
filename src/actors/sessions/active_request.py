"""A request in flight: what ties its actor to its session."""

import asyncio
import inspect
import traceback
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from actors.errors import NoActor
from actors.protocol.answer_stream import NO_STREAM, AnswerStream
from actors.protocol.failure import Failure
from actors.protocol.frames import Completed, Message, Notice, Request, Sealed
from actors.requests.duplex import Inputs
from actors.requests.interceptors import Ending, Interceptor
from actors.requests.registry import Registration
from actors.requests.request import AnyHandler, RequestActor, settled
from actors.runtime.actor import Actor
from actors.runtime.deadlines import Deadline
from actors.runtime.eager import begin
from actors.runtime.log import Log
from actors.runtime.ref import ActorRef
from actors.sessions.request_memory import RequestMemory
from actors.sessions.stalls import Stall

if TYPE_CHECKING:
    from actors.runtime.cell import Cell
    from actors.runtime.clock import Clock
    from actors.sessions.session import SessionActor

M = TypeVar("M")

_FORGOTTEN: Final = Request(0, 0, None)


class ActiveRequest(RequestMemory):
    """A request that runs: its Exchange, and the session's own notes about it."""

    # Not defaults of the class, which would be looked up there in vain each time.
    __slots__ = (
        "_began", "_calling", "_cell", "_early", "_first", "_handler", "_only_once", "_task",
        "_waiter", "begun", "deadline", "ends_if_stalled", "expiry", "registration", "request",
        "said",
    )  # fmt: skip

    def __init__(
        self,
        session: "SessionActor",
        request: Request,
        registration: Registration,
        size: int,
        began: float,
    ) -> None:
        self._session = session
        self._began = began
        self.request = request
        self.request_id: int = request.request_id
        self.held = size
        self._making = None
        self._awaits = self._has_one = self._calling = self._only_once = False
        self.stream = NO_STREAM
        self.registration: Registration = registration
        self.begun: bool = False
        """The first step has been taken, or is not going to be."""
        self.in_flight: bool = False
        """It has entered: its session and its registration know of it, until it is gone."""
        self.said: Message | Failure | Completed | None = None
        self.deadline: float | None = None
        self.expiry: Deadline | None = None
        self._cell: Cell[object] | None = None
        self._handler: AnyHandler | None = None
        self._task: asyncio.Task[None] | None = None
        self._first: float | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._early: list[Message | Sealed] | None = None
        self.ends_if_stalled: bool = False
        self.inputs = None
        if registration.takes is not None:
            self.inputs = Inputs(
                registration.takes, self._grant, self._run_once, self._hold, self._free
            )

    @property
    def interceptors(self) -> Sequence[Interceptor[Message]]:
        """What is put round the handler."""
        return self.registration.interceptors

    # -- the actor ---------------------------------------------------------------------------

    def begin(self, handler: AnyHandler) -> None:
        """Run the handler to its end, or to where it first waits, before this returns.

        Where it first waits it becomes an actor, or earlier, when it asks for a cell or crashes.
        Most requests never do, which saves half of their cost. The difference cannot be observed:
        no other code runs before that. On Python 3.11 tasks do not begin at once; what is sent
        to the request before its first step is kept until then.
        """
        self._handler = handler
        start: Callable[[], Awaitable[Ending]] | None
        if self.registration.interceptors:
            start = handler.attempt
        elif handler.handle_is_plain:
            start = self._call(handler)  # type: ignore[arg-type]  # a RequestActor; to look takes 0.2 us
            if start is None:
                return
        else:
            start = handler.run
        self._task = begin(self._work(start))
        if not self.begun:
            self.enter()
            self._session.first_steps.wait_for(self)
        elif self._handler is not None:  # where EAGER: it waits
            self.look()

    def _call(
        self, handler: RequestActor[Message, Message]
    ) -> Callable[[], Awaitable[Ending]] | None:
        """Run a plain function; return what needs a task after all, None if nothing does.

        A crash does, which is judged as in any actor, and an awaitable that it returns.
        """
        self._calling = self.begun = True
        answer: Message | Failure | Awaitable[Message]
        start: Callable[[], Awaitable[Ending]]
        try:
            try:
                answer = handler.handle(handler.request)
            except Failure as failure:
                answer = failure.alone()
            # Remembered: to ask a message for an `__await__` takes protobuf's types a microsecond.
            kind, known = type(answer), self.registration.said_at_once
            if kind not in known and not isinstance(answer, Awaitable):
                known.add(kind)
            aborted = self.said is not None  # by itself: it is not to wait for anything any more
            if aborted and inspect.iscoroutine(answer):
                answer.close()
            if aborted or (kind in known and not self._is_crowded(answer)):  # type: ignore[arg-type]  # as below
                self.end(answer)  # type: ignore[arg-type]  # awaited by nobody: no Awaitable, or too late
                self._calling = False
                self._handler = None  # no circle is left for the garbage collector
                self._session.passed(self)
                return None
            start = partial(settled, answer)
        except BaseException as error:  # noqa: BLE001 - raised in a task, and judged there
            start = partial(_raise, error)
        self._calling = self.begun = False
        return start

    def _sending(self) -> AnswerStream:
        """Enter, and return the answer stream; it is over if the request has ended."""
        self.enter()
        return self.stream

    def enter(self) -> None:
        """Put the request in flight, once, unless it has ended: now it can be found by its id.

        Call it before the request waits, and before anything but its end uses its id. Requests
        that never wait skip this, which makes them a seventh cheaper.
        """
        if not self.in_flight and self.said is None:
            self.in_flight = True
            self._session.enter(self)

    def look(self) -> None:
        """Become an actor, if the first step has been taken and the handler waits."""
        if self._cell is not None or self._handler is None:
            return
        self.enter()
        if self._session.alive:
            _ = self.cell
        else:  # there is nobody any more to be an actor for
            assert self._task is not None
            self._handler = None
            self._task.cancel()

    async def _work(self, start: Callable[[], Awaitable[Ending]]) -> None:
        self.begun = True
        if self._task is None:  # where EAGER: its actor may be asked for in another's task
            self._task = asyncio.current_task()
        elif not self._may_begin():
            return
        raised: BaseException | None = None
        ending: Ending | Failure
        try:
            # As `handler.main()`, without one more coroutine.
            try:
                ending = await start()
            except Failure as failure:
                ending = failure.alone()
            if self._is_crowded(ending):
                ending = await self._have_room_for(ending)
            self.end(ending)
        except BaseException as error:  # noqa: BLE001 - judged by the cell, as of any actor
            raised = error
        if self._cell is None and (raised is None or self._handler is None):
            self._handler = None  # no circle is left for the garbage collector
            self._session.passed(self)
            return
        try:
            await self.cell.carry_on(raised)
        finally:
            if raised is not None:  # it is kept, and would keep the handler with its request
                traceback.clear_frames(raised.__traceback__)
            del raised, start

    def _may_begin(self) -> bool:
        """Where tasks wait for their turn, much may have happened before the first step."""
        if self._handler is not None and self._session.alive:
            return True
        self._handler = None
        self._session.passed(self)
        return False

    def became(self, cell: "Cell[object]") -> None:
        """The request is an actor now."""
        self._cell = cell
        self._handler = None
        if self._only_once:
            cell.ref.restart_never()
        for message in self._early or ():
            cell.ref.tell(message)
        self._early = None

    @property
    def cell(self) -> "Cell[object]":
        """The request as an actor; it becomes one if it was none."""
        if self._cell is None:
            if self._calling:
                raise NoActor(f"{self.registration.label}: a plain function is no actor")
            assert self._handler is not None
            assert self._task is not None
            self.enter()
            cell = self._session.adopt(self, self._handler, self._task)
            self.became(cell)
            return cell
        return self._cell

    def kill(self) -> None:
        """Stop the actor, without waiting."""
        if not self.begun:
            self._handler = None
        elif self._calling:
            return  # it has ended, and what it still does nobody can stop
        elif self._cell is not None or self._handler is not None:
            self.cell.ref.kill()

    # -- its way back into the session -------------------------------------------------------

    def actor(self, kind: type[Actor[M]], name: str | None) -> ActorRef[M]:
        """The ref of a long-lived actor. Raises NotRegistered."""
        return self._session.find_actor(kind, name)

    def receive_sealed(self, payload: Message | Sealed) -> None:
        """Hand on what the client sent; what comes before the first step is kept until then."""
        if self.begun:
            self.cell.ref.tell(payload)
        else:
            self._early = [*(self._early or ()), payload]

    def _grant(self, limit: int) -> None:
        self._sending().grant(limit)

    def _run_once(self) -> None:
        self._only_once = True
        if self._cell is not None:
            self._cell.ref.restart_never()

    @property
    def clock(self) -> "Clock":
        """The system's time."""
        return self._session.context.clock

    @property
    def session(self) -> str:
        """The session's name."""
        return self._session.name

    @property
    def log(self) -> Log:
        """A log for this request."""
        return self._session.request_log(self.request_id)

    def notify(self, notice: Notice) -> None:
        """Send a notice, when there is credit for it."""
        self._sending().notify(notice)
        self._mark_answered()

    def answer(self, answer: Message) -> bool:
        """Send one; return whether there is room for the next."""
        room = self._sending().answer(answer)
        self._mark_answered()
        return room

    def answers(self) -> Callable[[Message], bool]:
        """Return what sends each answer after the first: as `answer` does, in fewer steps."""
        return self._sending().answers

    def answer_all(self, answers: Iterator[Message], at_most: int) -> bool:
        """Send answers while there is room; return whether that was all."""
        stream = self._sending()
        try:
            all_sent = stream.answer_all(answers, at_most)
        finally:
            self._mark_answered()
        if not all_sent:
            self._session.watch_reader()
        return all_sent

    def add_closing(self, key: str, closing: Message) -> None:
        """Have `closing` sent before the end."""
        self._sending().add_closing(key, closing)

    def take_closing(self, key: str) -> bool:
        """Take back what is to be sent before the end; return False if nothing is."""
        return self.stream.take_closing(key)

    def end(self, answer: Message | Failure | Completed) -> None:
        """Send the last one."""
        session = self._session
        if not self.in_flight and self.said is None:
            session.machine.answer_at_once(self.request_id, answer)
            self.ended(answer)
        elif self.stream.end(answer):
            self.ended(answer)
        self._only_once = True
        if self._cell is not None:
            self._cell.ref.restart_never()
            self._cell.finish()
        if session.machine.output.filled:
            session.watch_reader()

    async def finish(self, answer: Message | Failure | Completed) -> None:
        """Send the last one, when there is room for it."""
        if self._is_crowded(answer):
            answer = await self._have_room_for(answer)
        self.end(answer)

    def _mark_answered(self) -> None:
        if self._first is None:
            self._first = self._session.now()
            self._run_once()

    def has_room(self) -> bool:
        """Return whether one more answer may be sent."""
        return self._sending().has_room()

    async def room(self) -> None:
        """Wait until one more answer may be sent."""
        self._session.watch_reader()
        while not self.has_room():
            if not self.stream.block():
                raise asyncio.CancelledError  # a handler that did not end when it was told to
            self._waiter = asyncio.get_running_loop().create_future()
            stall = Stall(self._session, self.stream) if self.ends_if_stalled else None
            try:
                await self._waiter
            finally:
                self._waiter = None
                if stall is not None:
                    stall.stop()

    def wake(self) -> None:
        """There may be room again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def abort(self, failure: Failure) -> None:
        """End the request and stop its actor."""
        self.enter()
        self._session.abort(self.request_id, failure)

    def let_go(self) -> None:
        """Give everything back, the request's bytes too: run and actor are a circle by now."""
        super().let_go()
        self.request = _FORGOTTEN

    def ended(self, said: Message | Failure | Completed) -> None:
        """Report how the request went to whoever watches requests."""
        self.said = said
        session, began, first = self._session, self._began, self._first
        if session.on_request_end is None:
            return
        last = session.now() - began
        name = self.registration.name
        session.on_request_end(name, said, last if first is None else first - began, last)

    def make_handler(self) -> AnyHandler:
        """The actor that handles the request; a new one for each try."""
        handler = self.registration.factory()
        handler.exchange = self
        handler.request = self.request.payload  # type: ignore[assignment]  # else it were refused
        return handler


async def _raise(error: BaseException) -> Ending:
    try:
        raise error
    finally:
        del error  # no circle is left for the garbage collector
