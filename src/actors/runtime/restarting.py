"""From a crash, or a group restart caused by a sibling's crash, to the next incarnation.

The ref, the mailbox and the order of its messages are kept.
"""

from typing import TYPE_CHECKING, TypeVar

from actors.errors import AskCrashed, AskDropped
from actors.runtime import ending
from actors.runtime.events import Crashed
from actors.runtime.restart_decision import decide_restart
from actors.runtime.states import PAUSED, STOPPING, Trigger
from actors.runtime.supervision import Exit

if TYPE_CHECKING:
    from actors.runtime.cell import Cell

M = TypeVar("M")


async def recover(cell: "Cell[M]", error: BaseException) -> None:
    """Recover from a crash: fail pending asks, stop the children, and restart the actor or end."""
    if ending.rejects(cell, error):
        await ending.end_rejected(cell, error)
        return
    delay = _judge(cell, error)
    if cell.state >= STOPPING:
        await ending.shut_down(cell, error)
        return
    cell.move(Trigger.FAILED)
    await ending.stop_children(cell)
    await ending.clean_up_quietly(cell)
    _follow(cell, delay, error)


def recover_at_once(cell: "Cell[M]", error: BaseException) -> bool:
    """Recover without waiting; return False if a child or a hook has to be waited for."""
    if not cell.ends_at_once or ending.rejects(cell, error):
        return False
    delay = _judge(cell, error)
    if cell.state >= STOPPING:  # perhaps stopped by an observer of the crash
        ending.end(cell, Exit.CRASHED, error)
    else:
        cell.move(Trigger.FAILED)
        _follow(cell, delay, error)
    return True


def _judge(cell: "Cell[M]", error: BaseException) -> float | None:
    """Report the crash; return the seconds until the restart, or None if the actor ends."""
    system = cell.system
    message = cell.message_type if system.observes(Crashed) else ""
    incarnation = cell.incarnation
    if incarnation.pending:
        incarnation.fail_pending(AskCrashed, f"{cell.path}: crashed while answering", error)
    cell.current = None
    if cell.siblings is None:
        delay = None
        system.fail(error)
    else:
        delay = decide_restart(cell.siblings, cell, error)
    if system.observes(Crashed):
        system.report(Crashed(cell.path, error, message, delay))
    return delay


def _follow(cell: "Cell[M]", delay: float | None, error: BaseException) -> None:
    """End the actor if `delay` is None, else schedule its restart `delay` seconds from now."""
    if delay is None:
        ending.end(cell, Exit.CRASHED, error)
        return
    ending.drop_incarnation(cell)
    if cell.state is not PAUSED:  # told to stop in the meantime
        return
    siblings = cell.siblings
    if siblings is not None and siblings.together:
        siblings.restart_group(cell, delay)
    elif delay > 0:
        ending.set_limit(cell, delay, cell.resume)
    else:
        _renew(cell)


def halt(cell: "Cell[M]") -> None:
    """End this incarnation as on a stop, but keep ref and mailbox until `resume` is called."""
    incarnation = cell.incarnation
    if cell.state >= PAUSED or incarnation.halting:
        return
    incarnation.halting = True
    cell.look = True
    if cell.lifecycle.shutdown > 0:
        ending.set_limit(cell, cell.lifecycle.shutdown, lambda: ending.cut_short(cell))
        cell.notify()
    else:
        cell.notify()
        ending.cut_short(cell)


async def be_halted(cell: "Cell[M]") -> None:
    """End the incarnation once the current message is finished, and enter PAUSED."""
    cell.incarnation.fail_pending(AskDropped, f"{cell.path}: restarted before it answered")
    cell.current = None
    cell.move(Trigger.FAILED)
    await ending.stop_children(cell)
    await ending.clean_up_quietly(cell)
    if cell.state is PAUSED:
        ending.drop_incarnation(cell)
        ending.set_limit(cell, None)
        assert cell.siblings is not None  # their group restart waits for this
        cell.siblings.news()


def resume(cell: "Cell[M]") -> None:
    """Start a new incarnation. Call only while the actor is PAUSED."""
    ending.set_limit(cell, None)
    _renew(cell)
    if cell.task is None:  # else it has not yet gone idle after the crash, and will go on
        cell.schedule()


def _renew(cell: "Cell[M]") -> None:
    cell.move(Trigger.DUE)
    cell.open_record().restarts += 1
    assert cell.siblings is not None  # the root has no restart
    cell.siblings.tally.restarted += 1
