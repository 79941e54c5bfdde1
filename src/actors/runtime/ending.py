"""How an actor ends (by a stop, a kill or a crash, or abandoned) and who is notified.

A stop lets the current message finish, stops the children and runs `stopped`, each within its
limit. When a limit passes, the task is cancelled. A task that does not react to its cancellation
is reported as `Stuck` and abandoned.
"""

import asyncio
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from actors.errors import AskDropped, NotRunning, Rejected
from actors.runtime.actor import Actor
from actors.runtime.crashes import is_crash
from actors.runtime.events import Crashed, Stopped, Stuck
from actors.runtime.incarnation import Incarnation
from actors.runtime.states import STOPPED, STOPPING, Trigger
from actors.runtime.supervision import Down, Exit

if TYPE_CHECKING:
    from actors.runtime.cell import Cell

M = TypeVar("M")


# -- being stopped ------------------------------------------------------------------------------


def stop(cell: "Cell[M]", limit: float | None = None) -> None:
    """Tell the actor to stop; cancel it after `limit` seconds (None: its lifecycle's limit)."""
    if limit is None:
        limit = cell.lifecycle.shutdown
    if cell.state >= STOPPING and (limit > 0 or cell.exit is Exit.KILLED):
        return
    begin_stop(cell, Exit.SHUTDOWN)
    if cell.task is None and cell.system.run_queue.running is not cell:
        if cell.ends_at_once:
            end(cell, cell.exit)
            return
        cell.start_task()
    if limit > 0:
        set_limit(cell, limit, lambda: _kill(cell))
        cell.notify()
    else:
        _kill(cell)


def begin_stop(cell: "Cell[M]", exit: Exit, error: BaseException | None = None) -> None:
    """Refuse further messages and empty the mailbox. Does nothing if the actor is stopping.

    error: what ends the actor, if anything was raised.
    """
    if cell.state < STOPPING:
        cell.busy = True  # stays set, so that no message starts any work
        cell.look = True
        cell.move(Trigger.STOP)
        cell.exit = exit
        refusal = cell.refusal(error)
        if refusal is not None:
            cell.incarnation.refuse_pending(refusal)
        for item in cell.mailbox.close(lambda item: NotRunning(cell.path, item)):
            cell.discard(item, refusal)


def set_limit(
    cell: "Cell[M]", seconds: float | None, then: Callable[[], None] | None = None
) -> None:
    """Replace the current limit: call `then` in `seconds`. None or infinity: no limit."""
    if cell.limit is not None:
        cell.limit.cancel()
    cell.limit = None
    if seconds is not None and then is not None and seconds < float("inf"):
        cell.limit = cell.system.clock.call_later(seconds, then)


def _kill(cell: "Cell[M]") -> None:
    cell.exit = Exit.KILLED
    if cell.task is not None:  # else its plain function is running, and `work` checks `exit` next
        _cancel_task(cell, cell.task)


def cut_short(cell: "Cell[M]") -> None:
    """Cancel an incarnation that did not halt within its limit; `stopped` does not run."""
    cell.incarnation.up_since = None
    if cell.task is not None:
        _cancel_task(cell, cell.task)


def _cancel_task(cell: "Cell[M]", task: "asyncio.Task[None]") -> None:
    set_limit(cell, cell.system.kill_grace, cell.abandon)
    coroutine = task.get_coro()
    # A task that is cancelled before its first step would never run, and nobody would be told of
    # the end. Leave it to `work`, which checks `exit` and `halting` itself.
    if (
        not inspect.iscoroutine(coroutine)
        or inspect.getcoroutinestate(coroutine) != inspect.CORO_CREATED
    ):
        task.cancel()


def abandon(cell: "Cell[M]") -> None:
    """Report a task that ignored its cancellation, and end the actor in a new task."""
    cell.system.report(Stuck(cell.path, cell.message_type, cell.system.kill_grace))
    cell.task = asyncio.get_running_loop().create_task(be_killed(cell))


# -- the steps of the end -----------------------------------------------------------------------


async def stop_children(cell: "Cell[M]") -> None:
    """Stop all children and wait until they are gone. This actor's limit is lifted meanwhile."""
    set_limit(cell, None)
    if cell.children is not None:
        await cell.children.stop_all()


async def be_killed(cell: "Cell[M]") -> None:
    """End a killed actor: the children are still stopped in order, but `stopped` does not run."""
    begin_stop(cell, Exit.KILLED)
    cell.exit = Exit.KILLED
    cell.incarnation.fail_pending(AskDropped, f"{cell.path}: killed before it answered")
    try:
        await stop_children(cell)
    finally:
        end(cell, Exit.KILLED)


async def shut_down(cell: "Cell[M]", error: BaseException | None = None) -> None:
    """Stop the children, run `stopped` and end. `error`: the crash that ended the actor, if any."""
    await stop_children(cell)
    await (_clean_up(cell) if error is None else clean_up_quietly(cell))
    end(cell, cell.exit if error is None else Exit.CRASHED, error)


async def _clean_up(cell: "Cell[M]") -> None:
    """Run `stopped`, at most once, if the incarnation became ready and was not killed."""
    incarnation = cell.incarnation
    actor = incarnation.actor
    if actor is None or incarnation.up_since is None or cell.exit is Exit.KILLED:
        return
    incarnation.up_since = None
    if type(actor).stopped is Actor.stopped:
        return
    if cell.state is STOPPING or incarnation.halting:
        limit = cell.lifecycle.shutdown or cell.system.kill_grace
        past_it = cut_short if incarnation.halting else _kill
        set_limit(cell, limit, lambda: past_it(cell))
    hook = actor.stopped()
    if hook is not None:
        await hook


async def clean_up_quietly(cell: "Cell[M]") -> None:
    """Run `stopped` after a crash or a halt; report what it raises, so that it hides no error."""
    try:
        await _clean_up(cell)
    except BaseException as error:
        if not cell.crashed_with(error):
            raise
        cell.system.report(Crashed(cell.path, error, "stopped", None))


def rejects(cell: "Cell[M]", error: BaseException) -> bool:
    """Return whether `error` is a rejection by `started` or the factory, which is no crash."""
    return isinstance(error, Rejected) and cell.incarnation.up_since is None


async def end_rejected(cell: "Cell[M]", rejected: BaseException) -> None:
    """Stop the children and end; `stopped` does not run, since the actor did not start."""
    begin_stop(cell, Exit.NORMAL, rejected)
    await stop_children(cell)
    end(cell, cell.exit, rejected)


def drop_incarnation(cell: "Cell[M]") -> None:
    """Drop the actor, its timers, its watches and its children's restart window."""
    over, cell.incarnation = cell.incarnation, Incarnation()
    # What `stopped` has taken by `context.next()` and not answered.
    if over.pending:
        over.fail_pending(AskDropped, f"{cell.path}: restarted before it answered")
    over.end()
    if cell.children is not None:
        cell.children.forget_restarts()


def end(cell: "Cell[M]", exit: Exit, error: BaseException | None = None) -> None:
    """Enter STOPPED and notify the parent, the watchers and the observers. Idempotent."""
    if cell.state is STOPPED:
        return
    begin_stop(cell, exit, error)
    cell.move(Trigger.GONE)
    cell.task = cell.factory = None  # what makes the actor often refers to what has its cell
    set_limit(cell, None)
    path = cell.path
    cell.incarnation.fail_pending(AskDropped, f"{path}: stopped before it answered", error)
    down = cell.down = Down(path, cell.name, exit, error)
    drop_incarnation(cell)
    if cell.children is not None and not cell.children.members:  # Ctrl-C leaves some
        cell.children = None
    watchers = cell.watchers
    if watchers is not None:
        watchers.started(down)
    if cell.parent is not None:
        cell.parent.child_gone(down)
    if cell.system.observes(Stopped):
        cell.system.report(Stopped(path, exit))
    for callback in watchers.take() if watchers is not None else ():
        try:
            callback(down)
        except BaseException as failed:
            if not is_crash(failed):
                raise
            cell.system.report(Crashed(cell.path, failed, "watch", None))
