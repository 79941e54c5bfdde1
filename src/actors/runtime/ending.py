"""How an actor ends: told to stop, killed, crashed or left behind; and who hears of it.

A stop lets the message in hand finish, ends the children, runs `stopped`, each within its limit.
Past a limit the task is cancelled. What does not react even to that is named (`Stuck`) and left.
"""

import asyncio
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from actors.errors import AskDropped, NotRunning
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
    """Have the actor end within `limit` seconds (None: its own), then cancel it."""
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


def begin_stop(cell: "Cell[M]", exit: Exit) -> None:
    """Take no more messages, unless that is so already."""
    if cell.state < STOPPING:
        cell.busy = True  # for good: no message begins anything any more
        cell.look = True
        cell.move(Trigger.STOP)
        cell.exit = exit
        for item in cell.mailbox.close(lambda item: NotRunning(cell.path, item)):
            cell.discard(item)


def set_limit(
    cell: "Cell[M]", seconds: float | None, then: Callable[[], None] | None = None
) -> None:
    """Call `then` in so many seconds, in place of any other limit; None: have no limit."""
    if cell.limit is not None:
        cell.limit.cancel()
    cell.limit = None
    if seconds is not None and then is not None and seconds < float("inf"):
        cell.limit = cell.system.clock.call_later(seconds, then)


def _kill(cell: "Cell[M]") -> None:
    cell.exit = Exit.KILLED
    if cell.task is not None:  # else by its own plain function, after which `work` looks at `exit`
        _cancel_task(cell, cell.task)


def cut_short(cell: "Cell[M]") -> None:
    """Cancel an incarnation that halts, past its limit; `stopped` does not run."""
    cell.incarnation.up_since = None
    if cell.task is not None:
        _cancel_task(cell, cell.task)


def _cancel_task(cell: "Cell[M]", task: "asyncio.Task[None]") -> None:
    set_limit(cell, cell.system.kill_grace, lambda: _abandon(cell))
    coroutine = task.get_coro()
    # A task that is cancelled before its first step would never take it, and nobody would hear of
    # the end: `work` looks at `exit` and `halting` itself.
    if (
        not inspect.iscoroutine(coroutine)
        or inspect.getcoroutinestate(coroutine) != inspect.CORO_CREATED
    ):
        task.cancel()


def _abandon(cell: "Cell[M]") -> None:
    """The task did not react to being cancelled: say so, and go on without it."""
    cell.system.report(Stuck(cell.path, cell.message_type, cell.system.kill_grace))
    cell.task = asyncio.get_running_loop().create_task(be_killed(cell))


# -- the last things ----------------------------------------------------------------------------


async def stop_children(cell: "Cell[M]") -> None:
    """Wait until all are gone. Each has a limit; meanwhile there is none on this actor."""
    set_limit(cell, None)
    if cell.children is not None:
        await cell.children.stop_all()


async def be_killed(cell: "Cell[M]") -> None:
    """End, cancelled: the children still end in order, `stopped` does not run."""
    begin_stop(cell, Exit.KILLED)
    cell.exit = Exit.KILLED
    cell.incarnation.fail_pending(AskDropped, f"{cell.path}: killed before it answered")
    try:
        await stop_children(cell)
    finally:
        end(cell, Exit.KILLED)


async def shut_down(cell: "Cell[M]", error: BaseException | None = None) -> None:
    """End in order; `error`: after this crash."""
    await stop_children(cell)
    await (_clean_up(cell) if error is None else clean_up_quietly(cell))
    end(cell, cell.exit if error is None else Exit.CRASHED, error)


async def _clean_up(cell: "Cell[M]") -> None:
    """Run `stopped`, once, for an incarnation that was ready."""
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
    """Run `stopped` after a crash; what it raises must not hide the first error."""
    try:
        await _clean_up(cell)
    except BaseException as error:
        if not cell.crashed_with(error):
            raise
        cell.system.report(Crashed(cell.path, error, "stopped", None))


def drop_incarnation(cell: "Cell[M]") -> None:
    """Let go of the actor, its timers and its watches; what comes next begins anew."""
    over, cell.incarnation = cell.incarnation, Incarnation()
    over.end()
    if cell.children is not None:
        cell.children.forget_restarts()


def end(cell: "Cell[M]", exit: Exit, error: BaseException | None = None) -> None:
    """Be no more, and tell everybody. Harmless the second time."""
    if cell.state is STOPPED:
        return
    begin_stop(cell, exit)
    cell.move(Trigger.GONE)
    cell.task = None
    set_limit(cell, None)
    cell.incarnation.fail_pending(AskDropped, f"{cell.path}: stopped before it answered", error)
    down = cell.down = Down(cell.path, cell.name, exit, error)
    drop_incarnation(cell)
    watchers = cell.watchers
    if watchers is not None:
        watchers.started(down)
    if cell.parent is not None:
        cell.parent.child_gone(down)
    if cell.system.observed:
        cell.system.report(Stopped(down.path, exit))
    for callback in watchers.take() if watchers is not None else ():
        try:
            callback(down)
        except BaseException as failed:
            if not is_crash(failed):
                raise
            cell.system.report(Crashed(cell.path, failed, "watch", None))
