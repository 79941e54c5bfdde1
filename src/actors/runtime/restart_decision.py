"""Decides whether a crashed child is restarted, and after how many seconds.

The settings, the restart window and the backoff are in `actors.runtime.supervision`.
"""

from typing import TYPE_CHECKING, TypeVar

from actors.errors import GivenUp
from actors.runtime.events import ChildGivenUp
from actors.runtime.states import STARTING, STOPPING
from actors.runtime.supervision import Restart

if TYPE_CHECKING:
    from actors.runtime.cell import Cell
    from actors.runtime.children import Children

N = TypeVar("N")


def decide_restart(siblings: "Children", child: "Cell[N]", error: BaseException) -> float | None:
    """Return the seconds until the crashed child is restarted, or None if it is not.

    If the child exceeds the supervisor's intensity, the supervisor crashes with GivenUp.
    """
    siblings.tally.crashed += 1
    lifecycle, parent = child.lifecycle, siblings.parent
    if (
        lifecycle.restart is Restart.TEMPORARY
        or child.state >= STOPPING
        or parent.state >= STOPPING
        or (child.state is STARTING and not child.restarts and not child.retries_start)
    ):
        return None
    system = parent.system
    now = system.clock.now()
    record = child.open_record()
    own = lifecycle.intensity
    if own is not None:
        allowed = record.window.allows(own, now)
    else:
        allowed = siblings.window.allows(siblings.supervision.intensity, now)
    if allowed:
        ran_for = child.incarnation.ran_for(now)
        return record.next_pause(lifecycle.backoff, ran_for, system.random)
    siblings.tally.given_up += 1
    if system.observes(ChildGivenUp):
        system.report(ChildGivenUp(child.path, error, escalated=own is None))
    if own is None:
        given_up = GivenUp(f"{child.path}: crashed too often: {error!r}")
        given_up.__cause__ = error
        parent.push_control(given_up)
    return None
