"""How a request's handler is run: in a task that becomes an actor where it first waits.

Most requests never wait, and so never become actors, which saves half of their cost. The difference
cannot be observed: no other code runs before that. On Python 3.11 tasks do not begin at once; what
is sent to the request before its first step is kept until then.
"""

import asyncio
import inspect
import traceback
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from actors.protocol.failure import Failure
from actors.protocol.frames import Message, Sealed
from actors.requests.interceptors import Ending
from actors.requests.request import AnyHandler, RequestActor, settled
from actors.runtime.eager import begin
from actors.sessions.request_states import ACTOR, NEW, OVER, RUNNING, Phase

if TYPE_CHECKING:
    from actors.runtime.cell import Cell
    from actors.sessions.active_request import ActiveRequest


class Execution:
    """One request's handler, and what runs it (the phases: `actors.sessions.request_states`)."""

    __slots__ = ("_cell", "_early", "_handler", "_request", "_task", "phase")

    def __init__(self, request: "ActiveRequest", handler: AnyHandler) -> None:
        self.phase: Phase = NEW
        # Both until it is an actor or over: no circle is left for the garbage collector.
        self._request: ActiveRequest | None = request
        self._handler: AnyHandler | None = handler
        self._task: asyncio.Task[None] | None = None
        self._cell: Cell[object] | None = None
        self._early: list[Message | Sealed] | None = None

    def begin(self, start: Callable[[], Awaitable[Ending]]) -> None:
        """Run to the end, or to where it first waits, before this returns.

        Where it first waits it becomes an actor, or earlier, when it asks for a cell or crashes.
        """
        request = self._request
        assert request is not None
        self._task = begin(self._work(request, start))
        if self.phase is NEW:
            request.enter()
            request.session_actor.first_steps.wait_for(self)
        elif self.phase is RUNNING:  # where EAGER: it waits
            self.look()

    def look(self) -> None:
        """Become an actor, if the first step has been taken and the handler waits."""
        request = self._request
        if self.phase is not RUNNING or request is None:
            return
        request.enter()
        if request.session_actor.alive:
            _ = self.cell
        else:  # there is nobody any more to be an actor for
            assert self._task is not None
            self._leave(OVER)
            self._task.cancel()

    async def _work(self, request: "ActiveRequest", start: Callable[[], Awaitable[Ending]]) -> None:
        if self._task is None:  # where EAGER: its actor may be asked for in another's task
            self._task = asyncio.current_task()
        elif self.phase is OVER or not request.session_actor.alive:
            # Where tasks wait for their turn, much may have happened before the first step.
            self._leave(OVER)
            request.session_actor.passed(request)
            return
        self.phase = RUNNING
        raised: BaseException | None = None
        ending: Ending | Failure
        try:
            # As `handler.main()`, without one more coroutine.
            try:
                ending = await start()
            except Failure as failure:
                ending = failure.alone()
            if request.session_actor.machine.crowded(ending):
                ending = await request.have_room_for(ending)
            request.end(ending)
        except BaseException as error:  # noqa: BLE001 - judged by the cell, as of any actor
            raised = error
        if self.phase is OVER or (self.phase is RUNNING and raised is None):
            self.phase, self._request, self._handler = OVER, None, None
            request.session_actor.passed(request)
            return
        try:
            await self.cell.carry_on(raised)
        finally:
            if raised is not None:  # it is kept, and would keep the handler with its request
                traceback.clear_frames(raised.__traceback__)
            del raised, start

    def _leave(self, phase: Phase) -> None:
        self.phase = phase
        self._request = self._handler = None

    @property
    def cell(self) -> "Cell[object]":
        """The request as an actor; it becomes one if it was none."""
        if self._cell is None:
            request, handler, task = self._request, self._handler, self._task
            assert request is not None
            assert handler is not None
            assert task is not None
            request.enter()
            cell = request.session_actor.adopt(request, handler, task)
            self.became(cell, only_once=request.only_once)
            return cell
        return self._cell

    def became(self, cell: "Cell[object]", *, only_once: bool) -> None:
        """Note that the handler is an actor now, or again after a restart."""
        self._cell = cell
        self._leave(ACTOR)
        if only_once:
            cell.ref.restart_never()
        early, self._early = self._early, None
        for message in early or ():
            cell.ref.tell(message)

    # -- from the session --------------------------------------------------------------------

    def tell(self, payload: Message | Sealed) -> None:
        """Hand on what the client sent; what comes before the first step is kept until then."""
        if self.phase is NEW:
            self._early = [*(self._early or ()), payload]
        else:
            self.cell.ref.tell(payload)

    def run_once(self) -> None:
        """From now on a crash is the end: the client has seen something of this run."""
        if self._cell is not None:
            self._cell.ref.restart_never()

    def finish(self) -> None:
        """End the actor: the request has ended."""
        self.cell.ref.restart_never()
        self.cell.finish()

    def kill(self) -> None:
        """Stop, without waiting."""
        if self.phase is NEW:
            self._leave(OVER)
        elif self.phase is not OVER:
            self.cell.ref.kill()


def call(
    request: "ActiveRequest", handler: RequestActor[Message, Message]
) -> Callable[[], Awaitable[Ending]] | None:
    """Call a plain function; return what needs a task after all, None if nothing does.

    A crash does, which is judged as in any actor, and an awaitable that it returns.
    """
    answer: Message | Failure | Awaitable[Message]
    try:
        try:
            answer = handler.handle(handler.request)
        except Failure as failure:
            answer = failure.alone()
        # Remembered: to ask a message for an `__await__` takes protobuf's types a microsecond.
        kind, known = type(answer), request.registration.said_at_once
        if kind not in known and not isinstance(answer, Awaitable):
            known.add(kind)
        aborted = request.said is not None  # by itself: it is not to wait for anything any more
        if aborted and inspect.iscoroutine(answer):
            answer.close()
        session = request.session_actor
        if aborted or (kind in known and not session.machine.crowded(answer)):  # type: ignore[arg-type]  # as below
            request.end(answer)  # type: ignore[arg-type]  # awaited by nobody: no Awaitable, or too late
            session.passed(request)
            return None
        return partial(settled, answer)
    except BaseException as error:  # noqa: BLE001 - raised in a task, and judged there
        return partial(_raise, error)


async def _raise(error: BaseException) -> Ending:
    try:
        raise error
    finally:
        del error  # no circle is left for the garbage collector


class FirstSteps:
    """The requests whose first step waits for its turn of the loop: each is looked at after it."""

    __slots__ = ("_executions",)

    def __init__(self) -> None:
        self._executions: list[Execution] = []

    def wait_for(self, execution: Execution) -> None:
        """Have this one become an actor, if it waits then."""
        if not self._executions:
            asyncio.get_running_loop().call_soon(self._look)
        self._executions.append(execution)

    def _look(self) -> None:
        executions, self._executions = self._executions, []
        for execution in executions:
            if execution.phase is NEW:
                self.wait_for(execution)
            else:
                execution.look()
