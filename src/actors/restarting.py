"""One incarnation after the other: from a crash, or a sibling's, to the restart."""

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

from actors.ending import Ending
from actors.errors import AskCrashed, AskDropped
from actors.events import Crashed
from actors.inbox import State
from actors.runqueue import BURST
from actors.supervision import Exit, Lifecycle, Record

if TYPE_CHECKING:
    from actors.cell import Cell
    from actors.family import Family
    from actors.system import ActorSystem

M = TypeVar("M")


class Restarting(Ending[M], Generic[M]):
    """The incarnations of an actor. The ref, the mailbox and its order outlive them."""

    __slots__ = ("_record", "restarts")

    def __init__(
        self,
        system: "ActorSystem",
        parent: "Cell[object] | None",
        name: str,
        lifecycle: Lifecycle,
    ) -> None:
        super().__init__(system, parent, name, lifecycle)
        self.restarts = 0
        self._record: Record | None = None

    async def _recover(self, error: BaseException) -> None:
        """After a crash: fail the askers, end the children, and wait for the restart, if any."""
        message = self.message_type
        self._fail_pending(AskCrashed, "crashed on the question", error)
        self.current = None
        delay = self._decide_restart(error)
        if self.system.observed:
            self.system.report(Crashed(self.path, error, message, delay))
        if self.state >= State.STOPPING:
            await self._shut_down(error)
            return
        self.state = State.PAUSED
        await self._stop_children()
        await self._clean_up_quietly()
        if delay is None:
            self._end(Exit.CRASHED, error)
            return
        self._drop_incarnation()
        if self.state is not State.PAUSED:  # told to stop meanwhile
            return
        if self._siblings.together:
            self._siblings.restart_group(self, delay)
            return
        if delay > 0:
            self._set_limit(delay, self.resume)
            return
        self.resume()
        if self.restarts % BURST == 0:
            await asyncio.sleep(0)

    def _decide_restart(self, error: BaseException) -> float | None:
        """Seconds until the restart; None: this is the end."""
        if self.parent is None:
            self.system.fail(error)
            return None
        family = self._siblings
        family.tally.crashed += 1
        first_start = self.state is State.STARTING and not self.restarts
        if first_start or self.state >= State.STOPPING:
            return None
        return family.decide_restart(self, error)

    def halt(self) -> None:
        """End this incarnation as on a stop, and wait for `resume` with ref and mailbox kept."""
        if self.state >= State.PAUSED or self.halting:
            return
        self.halting = True
        self._look = True
        if self.lifecycle.shutdown > 0:
            self._set_limit(self.lifecycle.shutdown, self._cut_short)
            self._notify()
        else:
            self._notify()
            self._cut_short()

    async def _halt(self) -> None:
        self._fail_pending(AskDropped, "restarted before it answered")
        self.current = None
        self.state = State.PAUSED
        await self._stop_children()
        await self._clean_up_quietly()
        if self.state is State.PAUSED:
            self._drop_incarnation()
            self._set_limit(None)
            self._siblings.news()

    def resume(self) -> None:
        """The restart is due. Not for one that has been told to stop."""
        self._set_limit(None)
        self.state = State.STARTING
        self.restarts += 1
        self._siblings.tally.restarted += 1
        if self._task is None:
            self._schedule()

    @property
    def record(self) -> Record:
        """What the supervisor holds against this child."""
        if self._record is None:
            self._record = Record()
        return self._record

    def ran_for(self, now: float) -> float:
        """Seconds since this incarnation was ready; 0 if it did not get there."""
        return 0.0 if self._up_since is None else now - self._up_since

    @property
    def _siblings(self) -> "Family":
        """The family that the actor is a child of; the root, which is in none, has no restart."""
        assert self.parent is not None
        assert self.parent.family is not None
        return self.parent.family
