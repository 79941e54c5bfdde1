"""The task of an actor: whatever must wait is done here, and controls come before messages.

There is one at most. It starts the actor, goes on with a handler that waits, recovers from crashes,
and ends when nothing is left.
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
from actors.runtime.supervision import Down, Exit, Restart

if TYPE_CHECKING:
    from actors.runtime.cell import Cell

M = TypeVar("M")


class WaitEnded(asyncio.CancelledError):
    """A stop has ended `context.next()`: nothing will come any more."""


async def work(
    cell: "Cell[M]",
    hook: Awaitable[None] | None,
    error: BaseException | None,
    at_most: int = MESSAGES_PER_TURN,
) -> None:
    """Do what there is to do, crashes and restarts included; then fall idle, or end.

    hook, error: what the turn has left, a handler that waits or what it raised. at_most: messages
    to handle after that, before others have their turn.
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
            except BaseException as raised:  # noqa: BLE001 - judged there
                error = await _take_raised(cell, raised, task)
    finally:
        del cell.system.at_work[task]


async def _take_raised(
    cell: "Cell[M]", raised: BaseException, task: "asyncio.Task[None]"
) -> BaseException | None:
    """Return the crash to recover from, None if there is none; raise what ends the program."""
    try:
        if cell.crashed_with(raised):
            # A wait that the stop has ended is no fault.
            over = isinstance(raised, WaitEnded) or restarting.recover_at_once(cell, raised)
            return None if over else raised
        if not isinstance(raised, asyncio.CancelledError):
            if not isinstance(raised, GeneratorExit):  # else the loop is gone already
                ending.end(cell, Exit.CRASHED, raised)
            raise raised
        if cell.incarnation.halting and cell.state < STOPPING:
            task.uncancel()
        else:
            await ending.be_killed(cell)
        return None
    finally:
        del raised  # no circle is left for the garbage collector


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
    """The actor ended by itself; a permanent one is then restarted like one that crashed."""
    if cell.lifecycle.restart is Restart.PERMANENT and cell.siblings is not None:
        raise NormalEnd(f"{cell.path}: ended by itself")
    ending.begin_stop(cell, Exit.NORMAL)


async def _live(cell: "Cell[M]", at_most: int) -> None:
    if cell.incarnation.actor is None and cell.restarts % MESSAGES_PER_TURN == 0:
        await asyncio.sleep(0)  # who crashes and crashes without a pause lets others in between
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
        hook = None if cell.incarnation.finished else actor.main()
        if hook is not None:
            await hook
    await _drain(cell, actor, at_most)


def _must_look(cell: "Cell[M]") -> bool:
    """There is something before the next message: a control, a stop, the end."""
    if cell.look and cell.state is RUNNING:
        cell.look = cell.incarnation.must_look
    return cell.look


async def _drain(cell: "Cell[M]", actor: Actor[M], at_most: int) -> None:
    mailbox = cell.mailbox
    run_queue = cell.system.run_queue
    given = at_most
    while True:
        while cell.look and _must_look(cell):
            cell.current = None
            incarnation = cell.incarnation
            if cell.state is not RUNNING or incarnation.finished or incarnation.halting:
                return
            await _handle_control(actor, incarnation.take_control())
        # Until it waits for something its turn goes on, and `since` says when that began.
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
            # It would have the next turn too: this saves a task.
            given = at_most = MESSAGES_PER_TURN
            continue
        left = at_most
        try:
            for left in range(at_most - 1, at_most - waiting - 1, -1):  # noqa: B007 - read below
                cell.current = message = queue.popleft()
                if mailbox.mixed:
                    cell.current = message = cell.unwrap(message)
                hook = actor.receive(message)  # type: ignore[arg-type]  # `unwrap` leaves no Asked
                if hook is not None:
                    if waits:  # where EAGER it may not
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


async def _handle_control(actor: Actor[M], control: Down | BaseException) -> None:
    if isinstance(control, BaseException):
        raise control
    hook = actor.down(control)
    if hook is not None:
        await hook


async def carry_on(cell: "Cell[M]", raised: BaseException | None) -> None:
    """Do the rest, in the task that the actor was adopted with; `raised` came out of `main`."""
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
    """Return the next message, for a hook that waits for it.

    A crash from outside and a stop end the wait.
    """
    while True:
        incarnation = cell.incarnation
        crash = incarnation.take_crash()
        if crash is not None:
            raise crash
        if cell.mailbox:
            cell.look = True  # who counts on what was in the queue
            cell.mailbox.unfold()
            return cell.unwrap(cell.mailbox.queue.popleft())
        if cell.state >= STOPPING or incarnation.halting:
            await asyncio.sleep(0)  # a hook that asks again and again does not hold the loop
            raise WaitEnded
        await _sleep(cell)


async def _sleep(cell: "Cell[M]") -> None:
    """Wait, inside the task, until something arrives or the state changes."""
    incarnation = cell.incarnation
    incarnation.wake = asyncio.get_running_loop().create_future()
    cell.mailbox.room = 0  # whoever puts something in must wake this task
    try:
        await incarnation.wake
    finally:
        incarnation.wake = None
