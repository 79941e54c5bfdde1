"""Runs a request's handler in a task that becomes an actor when it first waits.

Most requests never wait, and so never become actors, which halves their cost. The difference cannot
be observed, as no other code runs before the first wait. On Python 3.11 tasks do not begin at once;
what is sent to the request before its first step is kept until then. A coroutine function that did
not wait the last time begins in a spare task there (`actors.runtime.spare_task`). The phases are
described in `actors.sessions.request_states`. Each function takes the request; some are methods of
`ActiveRequest`.
"""

import asyncio
import inspect
import traceback
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, cast

from actors.protocol.failure import Failure
from actors.protocol.frames import Message, Sealed
from actors.requests.interceptors import Ending
from actors.requests.request import AnyHandler, RequestActor, settled
from actors.runtime import eager
from actors.runtime.spare_task import STEPPED, SpareTask, rest_of
from actors.sessions.request_states import ACTOR, NEW, OVER, RUNNING, Phase

if TYPE_CHECKING:
    from actors.runtime.cell import Cell
    from actors.sessions.active_request import ActiveRequest


def begin(request: "ActiveRequest", handler: AnyHandler) -> None:
    """Run the handler to its end or its first wait before returning.

    The handler becomes an actor at its first wait, or earlier if it asks for its cell or crashes.
    Where tasks do not begin at once, its first step may be taken later, but never before those of
    earlier requests.
    """
    session = request.session_actor
    behind = session.first_steps is not None and session.first_steps.waiting
    start: Callable[[], Awaitable[Ending]] | None
    if request.registration.interceptors:
        start = handler.attempt
    elif handler.handle_is_plain and not behind:
        # Always a RequestActor; an isinstance check would take 0.2 us.
        start = _call(request, handler)  # type: ignore[arg-type]  # see above
        if start is None:
            return
    elif (
        STEPPED
        and handler.handle_is_coroutine
        and not behind
        and not request.registration.waits
        and (spare := session.context.system.spare_tasks.take()) is not None
    ):
        _step(request, handler, spare)  # type: ignore[arg-type]  # a RequestActor as well
        return
    else:
        start = handler.run
    request.handler = handler
    request.task = eager.begin(_work(request, start))
    del start  # it may hold an error, whose traceback holds this frame
    if request.phase is NEW:
        request.enter()
        session.first_steps = session.first_steps or FirstSteps()
        session.first_steps.wait_for(request)
    elif request.phase is RUNNING:  # where EAGER: it waits
        look(request)


def _call(
    request: "ActiveRequest", handler: RequestActor[Message, Message]
) -> Callable[[], Awaitable[Ending]] | None:
    """Call a plain function; return what a task must run to end the request, or None.

    A task is needed for a crash, which is handled as in any actor, for an awaitable answer, and for
    an answer that must wait for room.
    """
    answer: Message | Failure | Awaitable[Message]
    try:
        try:
            answer = handler.handle(handler.request)
        except Failure as failure:
            answer = failure.alone()
        # Cached: looking up `__await__` on a protobuf message takes a microsecond.
        kind, known = type(answer), request.registration.said_at_once
        if kind not in known and not isinstance(answer, Awaitable):
            known.add(kind)
        aborted = request.said is not None  # by itself, so it must not wait for anything
        if aborted and inspect.iscoroutine(answer):
            answer.close()
        session = request.session_actor
        if aborted or (kind in known and not session.machine.crowded(answer)):  # type: ignore[arg-type]  # as below
            request.end(answer)  # type: ignore[arg-type]  # no Awaitable, or not to be awaited
            session.passed(request)
            return None
        return partial(settled, answer)
    except BaseException as error:  # noqa: BLE001 - raised again in a task, and handled there
        return partial(_raise, error)


def _step(
    request: "ActiveRequest", handler: RequestActor[Message, Message], spare: SpareTask
) -> None:
    """Let a coroutine function begin in a spare task.

    If it answers without a wait, that is all. Otherwise the task is the request's from then on.
    """
    request.handler, request.task, request.phase = handler, spare.task, RUNNING
    start = _first_step(request, handler, spare)
    if start is not None:
        spare.hand_over(_work(request, start, begun=True))
        del start  # as above
        look(request)


def _first_step(
    request: "ActiveRequest", handler: RequestActor[Message, Message], spare: SpareTask
) -> Callable[[], Awaitable[Ending]] | None:
    """Take the first step; return what the task must run to end the request, or None."""
    answer: Message | Failure
    try:
        try:
            # It is a coroutine function, so its result is an answer.
            answer = spare.step(handler.handle, handler.request)  # type: ignore[arg-type, assignment]  # see above
        except Failure as failure:
            answer = failure.alone()
        if spare.begun is not None:  # it waits for `answer`
            request.registration.waits = True
            return cast("Callable[[], Awaitable[Ending]]", partial(rest_of, spare.begun, answer))
        session = request.session_actor
        if request.phase is not RUNNING or session.machine.crowded(answer):
            return partial(settled, answer)  # type: ignore[arg-type]  # a Failure is an end as well
        request.end(answer)
        request.phase, request.handler, request.task = OVER, None, None
        session.passed(request)
        spare.take_back()
    except BaseException as error:  # noqa: BLE001 - raised again in a task, and handled there
        return partial(_raise, error)
    return None


async def _raise(error: BaseException) -> Ending:
    try:
        raise error
    finally:
        del error  # leaves no cycle for the garbage collector


async def _work(
    request: "ActiveRequest", start: Callable[[], Awaitable[Ending]], begun: bool = False
) -> None:
    """Run `start` in the request's task, and end the request with what it returns or raises.

    begun: the handler has taken its first step.
    """
    if request.task is None:  # where EAGER: another task may call `cell_of`, which needs it
        request.task = asyncio.current_task()
    elif not begun and (request.phase is OVER or not request.session_actor.alive):
        # Without eager tasks, the request may have ended before its first step.
        _leave(request, OVER)
        request.session_actor.passed(request)
        return
    if not begun:
        request.phase = RUNNING
    raised: BaseException | None = None
    ending: Ending | Failure
    try:
        # Like `handler.main()`, with one coroutine less.
        try:
            ending = await start()
        except Failure as failure:
            ending = failure.alone()
        if request.session_actor.machine.crowded(ending):
            ending = await request.have_room_for(ending)
        request.end(ending)
    except BaseException as error:  # noqa: BLE001 - the cell handles it, as for any actor
        raised = error
    if request.phase is OVER or (request.phase is RUNNING and raised is None):
        request.registration.waits = False
        request.phase, request.handler = OVER, None
        request.session_actor.passed(request)
        return
    try:
        await cell_of(request).carry_on(raised)
    finally:
        if raised is not None:  # it is kept, and its frames would keep the handler
            traceback.clear_frames(raised.__traceback__)
        del raised, start


def look(request: "ActiveRequest") -> None:
    """Make the request an actor if its first step has been taken and its handler waits."""
    if request.phase is not RUNNING:
        return
    request.enter()
    if request.session_actor.alive:
        _ = cell_of(request)
    else:  # the session has stopped and adopts no actor
        assert request.task is not None
        _leave(request, OVER)
        request.task.cancel()


def _leave(request: "ActiveRequest", phase: Phase) -> None:
    request.phase = phase
    request.handler = None  # leaves no cycle for the garbage collector


def cell_of(request: "ActiveRequest") -> "Cell[object]":
    """Return the request's cell, making the request an actor if necessary."""
    if request.own_cell is None:
        handler, task = request.handler, request.task
        assert handler is not None
        assert task is not None
        request.enter()
        became(request, request.session_actor.adopt(request, handler, task))
        assert request.own_cell is not None
    return request.own_cell


def became(request: "ActiveRequest", cell: "Cell[object]") -> None:
    """Record that the handler is an actor now, or is one again after a restart."""
    request.own_cell = cell
    _leave(request, ACTOR)
    if request.only_once:
        cell.ref.restart_never()
    early, request.early = request.early, None
    for message in early or ():
        cell.ref.tell(message)


# -- from the session ---------------------------------------------------------------------------


def tell(request: "ActiveRequest", payload: Message | Sealed) -> None:
    """Pass on a message from the client; before the first step, keep it until then."""
    if request.phase is NEW:
        request.early = [*(request.early or ()), payload]
    else:
        cell_of(request).ref.tell(payload)


def run_once(request: "ActiveRequest") -> None:
    """Make a crash final from now on: the client has seen output of this run."""
    if request.own_cell is not None:
        request.own_cell.ref.restart_never()


def kill(request: "ActiveRequest") -> None:
    """Stop the handler, without waiting; a plain function that is running cannot be stopped."""
    if request.phase is not NEW:
        if request.phase is not OVER:
            cell_of(request).ref.kill()
    elif request.handler is not None:
        _leave(request, OVER)


class FirstSteps:
    """Requests whose first step awaits its turn of the loop; each is checked once it was taken."""

    __slots__ = ("waiting",)

    def __init__(self) -> None:
        self.waiting: list[ActiveRequest] = []
        """Empty if the first steps of all requests so far have been taken."""

    def wait_for(self, request: "ActiveRequest") -> None:
        """Make this request an actor if it waits after its first step."""
        if not self.waiting:
            asyncio.get_running_loop().call_soon(self._look)
        self.waiting.append(request)

    def _look(self) -> None:
        requests, self.waiting = self.waiting, []
        for request in requests:
            if request.phase is NEW:
                self.wait_for(request)
            else:
                look(request)
