"""One incarnation after the other: from a crash, or a sibling's, to the restart.

The ref, the mailbox and its order outlive them.
"""

from typing import TYPE_CHECKING, Final, TypeVar

from actors.errors import AskCrashed, AskDropped
from actors.runtime import ending
from actors.runtime.events import Crashed
from actors.runtime.states import PAUSED, STOPPING, Trigger
from actors.runtime.supervision import Exit, Restart

if TYPE_CHECKING:
    from actors.runtime.cell import Cell

M = TypeVar("M")

TEMPORARY: Final = Restart.TEMPORARY


async def recover(cell: "Cell[M]", error: BaseException) -> None:
    """After a crash: fail the askers, end the children, and see to the restart, if any."""
    delay = _judge(cell, error)
    if cell.state >= STOPPING:
        await ending.shut_down(cell, error)
        return
    cell.move(Trigger.FAILED)
    await ending.stop_children(cell)
    await ending.clean_up_quietly(cell)
    _follow(cell, delay, error)


def recover_at_once(cell: "Cell[M]", error: BaseException) -> bool:
    """`recover` where no child and no hook is to be waited for; False: some are."""
    if not cell.ends_at_once:
        return False
    delay = _judge(cell, error)
    if cell.state >= STOPPING:  # told so, perhaps by who has just heard of the crash
        ending.end(cell, Exit.CRASHED, error)
    else:
        cell.move(Trigger.FAILED)
        _follow(cell, delay, error)
    return True


def _judge(cell: "Cell[M]", error: BaseException) -> float | None:
    """Tell who is to hear of the crash. Seconds until the restart; None: this is the end."""
    system = cell.system
    message = cell.message_type if system.observed else ""
    incarnation = cell.incarnation
    if incarnation.pending:
        incarnation.fail_pending(AskCrashed, f"{cell.path}: crashed on the question", error)
    cell.current = None
    if cell.siblings is None:
        delay = None
        system.fail(error)
    else:
        delay = cell.siblings.decide_restart(cell, error)
    if system.observed:
        system.report(Crashed(cell.path, error, message, delay))
    return delay


def _follow(cell: "Cell[M]", delay: float | None, error: BaseException) -> None:
    """The crashed incarnation is over: end, or have another one `delay` seconds later."""
    if delay is None:
        ending.end(cell, Exit.CRASHED, error)
        return
    ending.drop_incarnation(cell)
    if cell.state is not PAUSED:  # told to stop meanwhile
        return
    siblings = cell.siblings
    if siblings is not None and siblings.together:
        siblings.restart_group(cell, delay)
    elif delay > 0:
        ending.set_limit(cell, delay, cell.resume)
    else:
        _renew(cell)


def halt(cell: "Cell[M]") -> None:
    """End this incarnation as on a stop, and wait for `resume` with ref and mailbox kept."""
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
    """End the incarnation, after the message in hand."""
    cell.incarnation.fail_pending(AskDropped, f"{cell.path}: restarted before it answered")
    cell.current = None
    cell.move(Trigger.FAILED)
    await ending.stop_children(cell)
    await ending.clean_up_quietly(cell)
    if cell.state is PAUSED:
        ending.drop_incarnation(cell)
        ending.set_limit(cell, None)
        assert cell.siblings is not None  # whose group_restart waits for this
        cell.siblings.news()


def resume(cell: "Cell[M]") -> None:
    """Start anew: the restart is due. Not for one that has been told to stop."""
    ending.set_limit(cell, None)
    _renew(cell)
    cell.schedule()


def _renew(cell: "Cell[M]") -> None:
    cell.move(Trigger.DUE)
    cell.open_record().restarts += 1
    assert cell.siblings is not None  # the root has no restart
    cell.siblings.tally.restarted += 1
