"""One incarnation after the other: from a crash, or a sibling's, to the restart."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from actors.errors import AskCrashed, AskDropped
from actors.runtime.actor import Actor
from actors.runtime.ending import EndingCell
from actors.runtime.events import Crashed, Started
from actors.runtime.states import PAUSED, RUNNING, STARTING, STOPPING
from actors.runtime.supervision import Exit, Lifecycle, Record, Restart

if TYPE_CHECKING:
    from actors.runtime.children import Children
    from actors.runtime.system import ActorSystem

M = TypeVar("M")

TEMPORARY: Final = Restart.TEMPORARY


class RestartingCell(EndingCell[M], Generic[M]):
    """The incarnations of an actor. The ref, the mailbox and its order outlive them."""

    __slots__ = ("_record", "factory", "since")

    def __init__(
        self,
        system: "ActorSystem",
        siblings: "Children | None",
        name: str,
        factory: Callable[[], Actor[M]],
        lifecycle: Lifecycle,
    ) -> None:
        super().__init__(system, siblings, name, lifecycle)
        self.factory: Callable[[], Actor[M]] | None = factory
        self.since = 0.0
        """When the message in hand was taken, or the turn began in which it was."""
        self._record: Record | None = None

    def _make_ready(self) -> bool:
        """Make the actor. False: something is to be done before its first message."""
        assert self.factory is not None, "a temporary actor is made once"
        actor = self.actor = self.factory()
        if self.lifecycle.restart is TEMPORARY:
            self.factory = None  # a closure mostly, with what it holds: 200 bytes
        actor.bind(self)  # type: ignore[arg-type]  # this is part of Cell, the only class that is made of it
        kind = type(actor)
        if kind.started is not Actor.started or kind.main is not Actor.main:
            return False
        if self.state is not STARTING:  # told to stop by its own factory
            return False
        self._set_running()
        return True

    def _set_running(self) -> None:
        self.state = RUNNING
        self._up_since = self.system.clock.now()
        if self.system.observed:
            self.system.report(Started(self.path, self.restarts))
        if self._watchers is not None:
            self._watchers.started(None)
        if self.siblings is not None and self.siblings.group_restart is not None:
            self.siblings.group_restart.news()

    async def _recover(self, error: BaseException) -> None:
        """After a crash: fail the askers, end the children, and see to the restart, if any."""
        delay = self._judge(error)
        if self.state >= STOPPING:
            await self._shut_down(error)
            return
        self.state = PAUSED
        await self._stop_children()
        await self._clean_up_quietly()
        self._follow(delay, error)

    def _recover_at_once(self, error: BaseException) -> bool:
        """`_recover` where no child and no hook is to be waited for; False: some are."""
        if not self._ends_at_once:
            return False
        delay = self._judge(error)
        if self.state >= STOPPING:  # told so, perhaps by who has just heard of the crash
            delay = None
        self.state = PAUSED
        self._follow(delay, error)
        return True

    def _judge(self, error: BaseException) -> float | None:
        """Tell who is to hear of the crash. Seconds until the restart; None: this is the end."""
        system = self.system
        message = self.message_type if system.observed else ""
        if self._pending:
            self._fail_pending(AskCrashed, "crashed on the question", error)
        self.current = None
        if self.siblings is None:
            delay = None
            system.fail(error)
        else:
            delay = self.siblings.decide_restart(self, error)
        if system.observed:
            system.report(Crashed(self.path, error, message, delay))
        return delay

    def _follow(self, delay: float | None, error: BaseException) -> None:
        """The crashed incarnation is over: end, or have another one `delay` seconds later."""
        if delay is None:
            self._end(Exit.CRASHED, error)
            return
        self._drop_incarnation()
        if self.state is not PAUSED:  # told to stop meanwhile
            return
        siblings = self.siblings
        if siblings is not None and siblings.together:
            siblings.restart_group(self, delay)
        elif delay > 0:
            self._set_limit(delay, self.resume)
        else:
            self._renew()

    def halt(self) -> None:
        """End this incarnation as on a stop, and wait for `resume` with ref and mailbox kept."""
        if self.state >= PAUSED or self.halting:
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
        self.state = PAUSED
        await self._stop_children()
        await self._clean_up_quietly()
        if self.state is PAUSED:
            self._drop_incarnation()
            self._set_limit(None)
            assert self.siblings is not None  # whose group_restart waits for this
            self.siblings.news()

    def resume(self) -> None:
        """The restart is due. Not for one that has been told to stop."""
        self._set_limit(None)
        self._renew()
        self._schedule()

    def _renew(self) -> None:
        self.state = STARTING
        record = self._record if self._record is not None else self.record
        record.restarts += 1
        assert self.siblings is not None  # the root has no restart
        self.siblings.tally.restarted += 1

    @property
    def restarts(self) -> int:
        """How often the actor was started again."""
        return 0 if self._record is None else self._record.restarts

    @property
    def record(self) -> Record:
        """What the supervisor holds against this child."""
        if self._record is None:
            self._record = Record()
        return self._record

    def ran_for(self, now: float) -> float:
        """Seconds since this incarnation was ready; 0 if it did not get there."""
        return 0.0 if self._up_since is None else now - self._up_since
