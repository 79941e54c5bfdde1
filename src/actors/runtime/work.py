"""The task of an actor, which does whatever must wait. Controls are handled before messages.

An actor has at most one task at a time. It runs hooks and handlers that wait, recovers from
crashes, and ends when there is nothing left to do.
"""

import asyncio
import inspect
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Never, TypeVar, cast

from actors.errors import NormalEnd
from actors.runtime import ending, restarting
from actors.runtime.actor import Actor
from actors.runtime.crashes import is_crash
from actors.runtime.eager import EAGER
from actors.runtime.runqueue import MESSAGES_PER_TURN
from actors.runtime.states import PAUSED, RUNNING, STARTING, STOPPED, STOPPING
from actors.runtime.supervision import Exit, Restart

if TYPE_CHECKING:
    from actors.runtime.cell import Cell

M = TypeVar("M")


class WaitEnded(asyncio.CancelledError):
    """A stop or a group restart has ended `context.next()`: no further message will come."""


async def work(
    cell: "Cell[M]",
    hook: Awaitable[None] | None,
    error: BaseException | None,
    at_most: int = MESSAGES_PER_TURN,
) -> None:
    """Do all pending work, including crashes and restarts; then fall idle, or end.

    hook, error: what the actor's turn left behind: a handler that waits, or the error that it
    raised. at_most: messages to handle after that before other actors get a turn.
    """
    task = cell.task = asyncio.current_task()
    assert task is not None
    cell.system.at_work[task] = cast("Cell[Never]", cell)
    try:
        if cell.exit is Exit.KILLED:
            if inspect.iscoroutine(hook):
                hook.close()
            await ending.be_killed(cell)
        while cell.state is not STOPPED:
            try:
                if hook is not None:
                    started, hook = hook, None
                    cell.since = cell.system.clock.now()
                    await started
                    cell.current = None
                    if not cell.mailbox.queue and not _must_look(cell):
                        _fall_idle(cell)
                        return
                if error is not None:
                    await restarting.recover(cell, error)
                    error = None
                await _live(cell, at_most)
                if cell.incarnation.halting and cell.state < STOPPING:
                    await restarting.be_halted(cell)
                if cell.incarnation.finished and cell.state is RUNNING:
                    _finish(cell)
                if cell.state < STOPPING:
                    _fall_idle(cell)
                    return
                await ending.shut_down(cell)
            except BaseException as raised:  # noqa: BLE001 - `_take_raised` decides
                error = await _take_raised(cell, raised, task)
    finally:
        del cell.system.at_work[task]


async def _take_raised(
    cell: "Cell[M]", raised: BaseException, task: "asyncio.Task[None]"
) -> BaseException | None:
    """Return the crash to recover from, or None; raise what is not a crash of the actor."""
    try:
        if cell.crashed_with(raised):
            # A wait that a stop has ended is not a crash.
            over = isinstance(raised, WaitEnded) or restarting.recover_at_once(cell, raised)
            return None if over else raised
        if not isinstance(raised, asyncio.CancelledError):
            if not isinstance(raised, GeneratorExit):  # else the loop is already gone
                ending.end(cell, Exit.CRASHED, raised)
            raise raised
        if cell.incarnation.halting and cell.state < STOPPING:
            task.uncancel()
        else:
            await ending.be_killed(cell)
        return None
    finally:
        del raised  # break the reference cycle with the traceback


def _fall_idle(cell: "Cell[M]") -> None:
    cell.task = None
    if cell.incarnation.pending:
        cell.incarnation.settle_pending()
    if cell.state is PAUSED:
        return
    if cell.mailbox.queue or cell.state is STARTING:
        cell.schedule()
    else:
        cell.busy = False
        cell.mailbox.rest()


def _finish(cell: "Cell[M]") -> None:
    """End an actor that finished by itself. Raises NormalEnd to have a permanent one restarted."""
    if cell.lifecycle.restart is Restart.PERMANENT and cell.siblings is not None:
        raise NormalEnd(f"{cell.path}: ended by itself")
    ending.begin_stop(cell, Exit.NORMAL)


async def _live(cell: "Cell[M]", at_most: int) -> None:
    if cell.incarnation.actor is None and cell.restarts % MESSAGES_PER_TURN == 0:
        await asyncio.sleep(0)  # lets others run if the actor keeps crashing without a pause
    if cell.state >= PAUSED or cell.incarnation.halting:
        return
    if cell.incarnation.actor is None:
        cell.make_ready()
    actor = cell.incarnation.actor
    assert actor is not None
    if cell.state is not RUNNING:
        hook = actor.started()
        if hook is not None:
            await hook
        if cell.state >= STOPPING:
            return
        cell.set_running()
        if cell.state >= STOPPING:  # stopped as soon as it was ready
            return
        hook = None if cell.incarnation.finished else actor.main()
        if hook is not None:
            await hook
    await _drain(cell, actor, at_most)


def _must_look(cell: "Cell[M]") -> bool:
    """Return whether a control, a stop or the end comes before the next message."""
    if cell.look and cell.state is RUNNING:
        cell.look = cell.incarnation.must_look
    return cell.look


async def _drain(cell: "Cell[M]", actor: Actor[M], at_most: int) -> None:  # noqa: C901 - the hot path, in one piece
    mailbox = cell.mailbox
    run_queue = cell.system.run_queue
    given = at_most
    while True:
        if cell.look and not await _handle_controls(cell, actor):
            return
        # False while the actor is still in its turn: nothing has waited since the turn began.
        waits = run_queue.running is not cell
        queue = mailbox.queue
        waiting = min(len(queue), at_most)
        if not waiting:
            cell.current = None
            run_queue.left -= given - at_most
            if not queue:
                return
            if EAGER:
                if waits or run_queue.ready or run_queue.left <= MESSAGES_PER_TURN:
                    return
            else:
                await asyncio.sleep(0)
            # The actor would get the next turn as well: going on here saves a task.
            given = at_most = MESSAGES_PER_TURN
            continue
        if not waits:  # where EAGER
            cell.since = cell.system.clock.now()
        left, counting = at_most, run_queue.counting
        try:
            for left in range(at_most - 1, at_most - waiting - 1, -1):  # noqa: B007 - used below
                cell.current = message = queue.popleft()
                if counting:
                    run_queue.count(cell, 1)
                if mailbox.mixed:
                    cell.current = message = cell.unwrap(message)
                hook = actor.receive(message)  # type: ignore[arg-type]  # `unwrap` leaves no Asked
                if hook is not None:
                    if waits:  # where EAGER, it may not have waited yet: the turn began at `since`
                        cell.since = cell.system.clock.now()
                    await hook
                if cell.look:
                    break
        except BaseException as error:
            if not is_crash(error) or not restarting.recover_at_once(cell, error):
                raise
            if cell.state is not STARTING or not cell.make_ready():
                return
            assert cell.incarnation.actor is not None
            actor = cell.incarnation.actor
        at_most = left


async def _handle_controls(cell: "Cell[M]", actor: Actor[M]) -> bool:
    """Handle what comes before the messages; return False if the incarnation must end."""
    while cell.look and _must_look(cell):
        cell.current = None
        incarnation = cell.incarnation
        if cell.state is not RUNNING or incarnation.finished or incarnation.halting:
            return False
        control = incarnation.take_control()
        if isinstance(control, BaseException):
            raise control
        hook = actor.down(control)
        if hook is not None:
            await hook
    return True


async def carry_on(cell: "Cell[M]", raised: BaseException | None) -> None:
    """Run the rest of an adopted actor's life, in the task that it was adopted with.

    raised: what its `main` raised, or None.
    """
    error: BaseException | None = None
    if raised is None:
        cell.incarnation.finished = True
        cell.look = True
    elif cell.crashed_with(raised):
        error = None if isinstance(raised, WaitEnded) else raised
    elif isinstance(raised, asyncio.CancelledError):
        await ending.be_killed(cell)
    else:
        ending.end(cell, Exit.CRASHED, raised)
        raise raised
    await work(cell, None, error)


# -- a hook that waits for messages -------------------------------------------------------------


async def take_next(cell: "Cell[M]") -> M:
    """Return the next message, waiting for it if there is none.

    Raises a crash that was pushed from outside, and WaitEnded when the actor stops or halts.
    """
    while True:
        incarnation = cell.incarnation
        crash = incarnation.take_crash()
        if crash is not None:
            raise crash
        if cell.mailbox:
            cell.look = True  # `_drain` has counted this message already
            cell.mailbox.unfold()
            if cell.system.run_queue.counting:
                cell.system.run_queue.count(cell, 1)
            return cell.unwrap(cell.mailbox.queue.popleft())
        if cell.state >= STOPPING or incarnation.halting:
            await asyncio.sleep(0)  # calling `next` in a loop must not block the event loop
            raise WaitEnded
        await _sleep(cell)


async def _sleep(cell: "Cell[M]") -> None:
    """Wait, in the actor's task, until a message arrives or the state changes."""
    incarnation = cell.incarnation
    incarnation.wake = asyncio.get_running_loop().create_future()
    cell.mailbox.room = 0  # makes every sender wake this task
    try:
        await incarnation.wake
    finally:
        incarnation.wake = None
