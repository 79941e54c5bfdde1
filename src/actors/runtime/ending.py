"""How an actor ends: told to stop, killed, crashed or left behind; and who hears of it.

A stop lets the message in hand finish, ends the children, runs `stopped`, each within its limit.
Past a limit the task is cancelled. What does not react even to that is named (`Stuck`) and left.
"""

import asyncio
import inspect
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from actors.errors import AskDropped
from actors.runtime.actor import Actor
from actors.runtime.crashes import is_crash
from actors.runtime.events import Crashed, Stopped, Stuck
from actors.runtime.inbox import ReceivingCell
from actors.runtime.ref import Down
from actors.runtime.states import STOPPED, STOPPING
from actors.runtime.supervision import Exit, Lifecycle
from actors.runtime.watch import Watchers

if TYPE_CHECKING:
    from actors.runtime.children import Children
    from actors.runtime.clock import Timer
    from actors.runtime.system import ActorSystem

M = TypeVar("M")


class EndingCell(ReceivingCell[M], Generic[M]):
    """The end of an actor, and of each of its incarnations."""

    __slots__ = (
        "_down",
        "_exit",
        "_limit",
        "_up_since",
        "_watchers",
        "actor",
        "children",
        "current",
        "finished",
    )

    def __init__(
        self,
        system: "ActorSystem",
        siblings: "Children | None",
        name: str,
        lifecycle: Lifecycle,
    ) -> None:
        super().__init__(system, siblings, name, lifecycle)
        self.actor: Actor[M] | None = None
        self.children: Children | None = None
        self.current: object = None
        self.finished = False
        self._up_since: float | None = None
        self._exit = Exit.NORMAL
        self._down: Down | None = None
        self._limit: Timer | None = None
        self._watchers: Watchers | None = None

    @abstractmethod
    def _start_task(self) -> None:
        """Have a task work for the actor."""

    @property
    def message_type(self) -> str:
        """The type of the message in hand."""
        return "" if self.current is None else type(self.current).__name__

    def _is_crash(self, error: BaseException) -> bool:
        """The actor's own doing; else someone ends its task, the loop or the process."""
        if isinstance(error, asyncio.CancelledError):
            task = self._task
            return self._exit is not Exit.KILLED and (task is None or not task.cancelling())
        return is_crash(error)

    # -- who hears of it ---------------------------------------------------------------------

    def add_watcher(self, callback: Callable[[Down], None]) -> Callable[[], None]:
        """Call back once, at the end; at once if that was before."""
        if self._down is not None:
            callback(self._down)
            return lambda: None
        return self._open_watchers().add(callback)

    def _open_watchers(self) -> Watchers:
        if self._watchers is None:
            self._watchers = Watchers()
        return self._watchers

    async def join(self) -> Down:
        """Wait for the end."""
        if self._down is not None:
            return self._down
        gone: asyncio.Future[Down] = asyncio.get_running_loop().create_future()
        unwatch = self.add_watcher(lambda down: None if gone.done() else gone.set_result(down))
        try:
            return await gone
        finally:
            unwatch()

    # -- being stopped -----------------------------------------------------------------------

    def stop(self, limit: float | None = None) -> None:
        """Have the actor end within `limit` seconds (None: its own), then cancel it."""
        if limit is None:
            limit = self.lifecycle.shutdown
        if self.state >= STOPPING and (limit > 0 or self._exit is Exit.KILLED):
            return
        self._begin_stop(Exit.SHUTDOWN)
        if self._task is None and self.system.run_queue.running is not self:
            if self._ends_at_once:
                self._end(self._exit)
                return
            self._start_task()
        if limit > 0:
            self._set_limit(limit, self._kill)
            self._notify()
        else:
            self._kill()

    @property
    def _ends_at_once(self) -> bool:
        """There is nothing to do at the end: no child to stop, no hook to run."""
        return not (self.children and self.children.members) and (
            self.actor is None or type(self.actor).stopped is Actor.stopped
        )

    def _begin_stop(self, exit: Exit) -> None:
        if self.state < STOPPING:
            self._busy = True  # for good: no message begins anything any more
            self._look = True
            self.state = STOPPING
            self._exit = exit
            self._close_mailbox()

    def _set_limit(self, seconds: float | None, then: Callable[[], None] | None = None) -> None:
        if self._limit is not None:
            self._limit.cancel()
        self._limit = None
        if seconds is not None and then is not None and seconds < float("inf"):
            self._limit = self.system.clock.call_later(seconds, then)

    def _kill(self) -> None:
        self._exit = Exit.KILLED
        if self._task is None:  # by its own plain function, after which `_work` looks at `_exit`
            return
        self._cancel_task(self._task)

    def _cut_short(self) -> None:
        """Past its limit, an incarnation that halts is cancelled; `stopped` does not run."""
        self._up_since = None
        if self._task is not None:
            self._cancel_task(self._task)

    def _cancel_task(self, task: "asyncio.Task[None]") -> None:
        self._set_limit(self.system.kill_grace, self._abandon)
        work = task.get_coro()
        # A task that is cancelled before its first step would never take it, and nobody would
        # hear of the end: `_work` looks at `_exit` and `halting` itself.
        if not inspect.iscoroutine(work) or inspect.getcoroutinestate(work) != inspect.CORO_CREATED:
            task.cancel()

    def _abandon(self) -> None:
        """The task did not react to being cancelled: say so, and go on without it."""
        self.system.report(Stuck(self.path, self.message_type, self.system.kill_grace))
        self._task = asyncio.get_running_loop().create_task(self._be_killed())

    # -- the last things ---------------------------------------------------------------------

    async def _stop_children(self) -> None:
        """Each has a limit of its own; meanwhile there is none on this actor."""
        self._set_limit(None)
        if self.children is not None:
            await self.children.stop_all()

    async def _be_killed(self) -> None:
        """Cancelled: the children still end in order, `stopped` does not run."""
        self._begin_stop(Exit.KILLED)
        self._exit = Exit.KILLED
        self._fail_pending(AskDropped, "killed before it answered")
        try:
            await self._stop_children()
        finally:
            self._end(Exit.KILLED)

    async def _shut_down(self, error: BaseException | None = None) -> None:
        await self._stop_children()
        await (self._clean_up() if error is None else self._clean_up_quietly())
        self._end(self._exit if error is None else Exit.CRASHED, error)

    async def _clean_up(self) -> None:
        """Run `stopped`, once, for an incarnation that was ready."""
        actor = self.actor
        if actor is None or self._up_since is None or self._exit is Exit.KILLED:
            return
        self._up_since = None
        if type(actor).stopped is Actor.stopped:
            return
        if self.state is STOPPING or self.halting:
            limit = self.lifecycle.shutdown or self.system.kill_grace
            self._set_limit(limit, self._cut_short if self.halting else self._kill)
        hook = actor.stopped()
        if hook is not None:
            await hook

    async def _clean_up_quietly(self) -> None:
        """`stopped` after a crash; what it raises must not hide the first error."""
        try:
            await self._clean_up()
        except BaseException as error:
            if not self._is_crash(error):
                raise
            self.system.report(Crashed(self.path, error, "stopped", None))

    def _drop_incarnation(self) -> None:
        self.actor = None
        self.finished = False
        self.halting = False
        self._up_since = None
        if self._private is not None:
            self._private.drop()
            self._private = None
        if self.children is not None:
            self.children.forget_restarts()

    def _end(self, exit: Exit, error: BaseException | None = None) -> None:
        if self.state is STOPPED:
            return
        self._begin_stop(exit)
        self.state = STOPPED
        self._task = None
        self._set_limit(None)
        self._fail_pending(AskDropped, "stopped before it answered", error)
        down = self._down = Down(self.path, self.name, exit, error)
        self._drop_incarnation()
        watchers = self._watchers
        if watchers is not None:
            watchers.started(down)
        if self.parent is not None:
            self.parent.child_gone(down)
        if self.system.observed:
            self.system.report(Stopped(down.path, exit))
        for callback in watchers.take() if watchers is not None else ():
            try:
                callback(down)
            except BaseException as failed:
                if not is_crash(failed):
                    raise
                self.system.report(Crashed(self.path, failed, "watch", None))
