"""An actor's turns in the run queue: it handles messages without a task until one must wait.

The first handler that waits gets a task, which also handles the messages after it.
"""

import inspect
from typing import TYPE_CHECKING, TypeVar

from actors.runtime import ending, restarting
from actors.runtime.eager import EAGER
from actors.runtime.mailbox import NOTHING
from actors.runtime.runqueue import MESSAGES_PER_TURN
from actors.runtime.states import PAUSED, RUNNING, STARTING
from actors.runtime.supervision import Exit, Restart

if TYPE_CHECKING:
    from actors.runtime.cell import Cell

M = TypeVar("M")


def step(cell: "Cell[M]", at_most: int) -> int:
    """Handle up to `at_most` messages, until one must wait; return how many, at least 1.

    A task continues with a handler that waits.
    """
    if cell.look or cell.state is not RUNNING or cell.task is not None:
        return _step_aside(cell)
    mailbox = cell.mailbox
    message = mailbox.first
    if message is NOTHING:
        return _step_through(cell, at_most)
    mailbox.first = NOTHING
    if mailbox.mixed:
        mailbox.mixed = False
        message = cell.unwrap(message)
    cell.current = message
    incarnation = cell.incarnation
    assert incarnation.actor is not None
    try:
        hook = incarnation.actor.receive(message)  # type: ignore[arg-type]  # `unwrap` leaves no Asked
    except BaseException as error:  # noqa: BLE001 - `_goes_on` decides
        if _goes_on(cell, error):
            _end_turn(cell)
        return 1
    if hook is not None:
        cell.start_task(hook, None, at_most - 1)
    elif cell.look or mailbox.queue or incarnation.pending:  # type: ignore[redundant-expr]  # by it
        _end_turn(cell)
    else:
        cell.current = None
        cell.busy = False
    return 1


def put_now(cell: "Cell[M]", message: M) -> None:
    """Put `message` and handle it at once if the actor is idle and no other actor has its turn.

    Otherwise this is `Cell.put`. The turn is `step` for an empty mailbox, inlined: every message
    from a client passes here, and each call counts.
    """
    run_queue = cell.system.run_queue
    if cell.busy or cell.look or run_queue.running is not None or cell.state is not RUNNING:
        cell.put(message)
        return
    cell.busy = True
    run_queue.running = cell
    cell.current = message
    incarnation = cell.incarnation
    assert incarnation.actor is not None
    try:
        hook = incarnation.actor.receive(message)
    except BaseException as error:  # noqa: BLE001 - `_goes_on` decides
        if _goes_on(cell, error):
            _end_turn(cell)
    else:
        if hook is not None:
            cell.start_task(hook, None, MESSAGES_PER_TURN - 1)
        elif cell.look or cell.mailbox.queue or incarnation.pending:  # type: ignore[redundant-expr]  # by it
            _end_turn(cell)
        else:
            cell.current = None
            cell.busy = False
    finally:
        run_queue.running = None


def schedule(cell: "Cell[M]") -> None:
    """Schedule the actor's work. Call only while nothing else runs or schedules it."""
    if EAGER or not _needs_task(cell):
        cell.system.run_queue.add(cell)
    else:
        cell.start_task()


def _needs_task(cell: "Cell[M]") -> bool:
    """Return whether a turn would only start a task, one turn of the loop later."""
    actor = cell.incarnation.actor
    if actor is None or cell.state is not RUNNING:
        return True
    code = getattr(type(actor).receive, "__code__", None)
    return code is not None and code.co_flags & inspect.CO_COROUTINE != 0


def _step_through(cell: "Cell[M]", at_most: int) -> int:
    """Handle up to `at_most` messages from the queue: `step` for a mailbox that has one."""
    mailbox = cell.mailbox
    queue = mailbox.queue
    handled, waiting = 0, min(len(queue), at_most)
    while handled < waiting:
        actor = cell.incarnation.actor
        assert actor is not None
        try:
            for handled in range(handled + 1, waiting + 1):  # noqa: B020 - resumes after a crash
                cell.current = message = queue.popleft()
                if mailbox.mixed:
                    cell.current = message = cell.unwrap(message)
                hook = actor.receive(message)  # type: ignore[arg-type]  # `unwrap` leaves no Asked
                if hook is not None:
                    cell.start_task(hook, None, at_most - handled)
                    return handled
                if cell.look:
                    waiting = handled
                    break
        except BaseException as error:  # noqa: BLE001 - `_goes_on` decides
            if not _goes_on(cell, error):
                return handled
    _end_turn(cell)
    return max(handled, 1)


def _step_aside(cell: "Cell[M]") -> int:
    """Start a task for work other than messages. Does nothing if the turn is out of date."""
    if cell.task is None and cell.state < PAUSED:
        cell.start_task()
    return 1


def _goes_on(cell: "Cell[M]", error: BaseException) -> bool:
    """Handle an error of a plain function; return whether the next message can be handled now."""
    if not cell.crashed_with(error):
        ending.end(cell, Exit.CRASHED, error)
        raise error
    failed: BaseException | None = error
    if restarting.recover_at_once(cell, error):
        if cell.state is not STARTING:
            return False
        try:
            if cell.make_ready() and not cell.look:
                return True
            failed = None
        except BaseException as raised:  # noqa: BLE001 - the task decides
            failed = raised
    cell.start_task(None, failed)
    return False


def _end_turn(cell: "Cell[M]") -> None:
    cell.current = None
    incarnation = cell.incarnation
    if incarnation.pending:
        incarnation.settle_pending()
    if cell.look:
        if incarnation.finished and cell.lifecycle.restart is not Restart.PERMANENT:
            ending.begin_stop(cell, Exit.NORMAL)
            if cell.ends_at_once and cell.exit is not Exit.KILLED:
                ending.end(cell, cell.exit)
                return
        cell.start_task()
    elif cell.mailbox.queue:
        cell.system.run_queue.add(cell)
    else:
        cell.busy = False
        cell.mailbox.rest()
