"""How a request's handler is run: in a task that becomes an actor where it first waits.

Most requests never wait, and so never become actors, which saves half of their cost. The difference
cannot be observed: no other code runs before that. On Python 3.11 tasks do not begin at once; what
is sent to the request before its first step is kept until then. The phases, by what happens, are in
`actors.sessions.request_states`; these functions are methods of `ActiveRequest`.
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
from actors.runtime import eager
from actors.sessions.request_states import ACTOR, NEW, OVER, RUNNING, Phase

if TYPE_CHECKING:
    from actors.runtime.cell import Cell
    from actors.sessions.active_request import ActiveRequest


def begin(request: "ActiveRequest", handler: AnyHandler) -> None:
    """Run the handler to its end, or to where it first waits, before this returns.

    Where it first waits it becomes an actor, or earlier, when it asks for a cell or crashes.
    """
    start: Callable[[], Awaitable[Ending]] | None
    if request.registration.interceptors:
        start = handler.attempt
    elif handler.handle_is_plain:
        start = _call(request, handler)  # type: ignore[arg-type]  # a RequestActor; to look takes 0.2 us
        if start is None:
            return
    else:
        start = handler.run
    request.handler = handler
    request.task = eager.begin(_work(request, start))
    if request.phase is NEW:
        request.enter()
        request.session_actor.first_steps.wait_for(request)
    elif request.phase is RUNNING:  # where EAGER: it waits
        look(request)


def _call(
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


async def _work(request: "ActiveRequest", start: Callable[[], Awaitable[Ending]]) -> None:
    if request.task is None:  # where EAGER: its actor may be asked for in another's task
        request.task = asyncio.current_task()
    elif request.phase is OVER or not request.session_actor.alive:
        # Where tasks wait for their turn, much may have happened before the first step.
        _leave(request, OVER)
        request.session_actor.passed(request)
        return
    request.phase = RUNNING
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
    if request.phase is OVER or (request.phase is RUNNING and raised is None):
        request.phase, request.handler = OVER, None
        request.session_actor.passed(request)
        return
    try:
        await cell_of(request).carry_on(raised)
    finally:
        if raised is not None:  # it is kept, and would keep the handler with its request
            traceback.clear_frames(raised.__traceback__)
        del raised, start


def look(request: "ActiveRequest") -> None:
    """Become an actor, if the first step has been taken and the handler waits."""
    if request.phase is not RUNNING:
        return
    request.enter()
    if request.session_actor.alive:
        _ = cell_of(request)
    else:  # there is nobody any more to be an actor for
        assert request.task is not None
        _leave(request, OVER)
        request.task.cancel()


def _leave(request: "ActiveRequest", phase: Phase) -> None:
    request.phase = phase
    request.handler = None  # no circle is left for the garbage collector


def cell_of(request: "ActiveRequest") -> "Cell[object]":
    """Return the request as an actor; it becomes one if it was none."""
    if request.own_cell is None:
        handler, task = request.handler, request.task
        assert handler is not None
        assert task is not None
        request.enter()
        became(request, request.session_actor.adopt(request, handler, task))
        assert request.own_cell is not None
    return request.own_cell


def became(request: "ActiveRequest", cell: "Cell[object]") -> None:
    """Note that the handler is an actor now, or again after a restart."""
    request.own_cell = cell
    _leave(request, ACTOR)
    if request.only_once:
        cell.ref.restart_never()
    early, request.early = request.early, None
    for message in early or ():
        cell.ref.tell(message)


# -- from the session ---------------------------------------------------------------------------


def tell(request: "ActiveRequest", payload: Message | Sealed) -> None:
    """Hand on what the client sent; what comes before the first step is kept until then."""
    if request.phase is NEW:
        request.early = [*(request.early or ()), payload]
    else:
        cell_of(request).ref.tell(payload)


def run_once(request: "ActiveRequest") -> None:
    """From now on a crash is the end: the client has seen something of this run."""
    if request.own_cell is not None:
        request.own_cell.ref.restart_never()


def kill(request: "ActiveRequest") -> None:
    """Stop the handler, without waiting; a plain function that runs cannot be stopped."""
    if request.phase is not NEW:
        if request.phase is not OVER:
            cell_of(request).ref.kill()
    elif request.handler is not None:
        _leave(request, OVER)


class FirstSteps:
    """The requests whose first step waits for its turn of the loop: each is looked at after it."""

    __slots__ = ("_requests",)

    def __init__(self) -> None:
        self._requests: list[ActiveRequest] = []

    def wait_for(self, request: "ActiveRequest") -> None:
        """Have this one become an actor, if it waits then."""
        if not self._requests:
            asyncio.get_running_loop().call_soon(self._look)
        self._requests.append(request)

    def _look(self) -> None:
        requests, self._requests = self._requests, []
        for request in requests:
            if request.phase is NEW:
                self.wait_for(request)
            else:
                look(request)
