"""The life of one actor: its states, its task, its restarts.

    STARTING ──▶ RUNNING ──▶ STOPPING ──▶ STOPPED
        ▲           │
        └─ PAUSED ◀─┘   from a crash until the restart is due

A cell stays while its actor objects come and go. Messages are handled in `step`, on its turn in
the run queue, as long as the handlers are plain functions. Whatever must wait is done in a task,
one at most: it makes the actor, handles controls before messages, and ends when nothing is left.

What reaches the actor is in `actors.inbox`, how it ends in `actors.ending`.
"""

import asyncio
import inspect
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, Generic, TypeVar, cast

from actors.actor import Actor
from actors.ask import Asked
from actors.ending import Ending
from actors.errors import AskCrashed, AskDropped, NormalEnd, StartFailed
from actors.events import Crashed, Started
from actors.family import Family
from actors.inbox import State, WaitEnded
from actors.ref import ActorRef, Down
from actors.runqueue import BURST
from actors.supervision import Exit, Lifecycle, Record, Restart

if TYPE_CHECKING:
    from actors.system import ActorSystem

M = TypeVar("M")
N = TypeVar("N")

EAGER: Final = sys.version_info >= (3, 12)
"""A task can begin at once, and end so if it need not wait: a third of the cost of one that waits
for its turn of the event loop (PEP 703's sibling in asyncio: `eager_start`)."""


class Cell(Ending[M], Generic[M]):
    """The runtime's side of an actor."""

    __slots__ = ("_awaits", "_main_due", "_record", "_starters", "factory", "restarts", "since")

    def __init__(
        self,
        system: "ActorSystem",
        parent: "Cell[object] | None",
        name: str,
        factory: Callable[[], Actor[M]],
        lifecycle: Lifecycle,
    ) -> None:
        super().__init__(system, parent, name, lifecycle)
        self.factory = factory
        self.since = 0.0
        self.restarts = 0
        self._main_due = False
        # Its handlers have been seen to wait; where tasks are not eager, it gets one without `step`.
        self._awaits = False
        self._record: Record | None = None
        self._starters: list[asyncio.Future[Down | None]] | None = None

    @property
    def ref(self) -> ActorRef[M]:
        """The address for others."""
        return ActorRef(self)

    # -- the start ---------------------------------------------------------------------------

    def launch(self) -> None:
        """Make the actor and get it going. Raises StartFailed if the factory raises."""
        try:
            actor = self._make_actor()
        except Exception as error:
            if self.parent is not None and self.parent.family is not None:
                self.parent.family.tally.crashed += 1
            self._end(Exit.CRASHED, error)
            raise StartFailed(f"{self.path}: did not start: {error!r}") from error
        kind = type(actor)
        if kind.started is Actor.started and kind.main is Actor.main:
            self._set_running()
        else:
            self._awaits = True
            self._busy = True
            self._schedule()

    async def ready(self) -> None:
        """Wait until the actor runs; raise StartFailed if it ends before."""
        if self._down is not None:
            raise StartFailed(f"{self.path}: did not start") from self._down.error
        if self.state is State.STARTING:
            outcome: asyncio.Future[Down | None] = asyncio.get_running_loop().create_future()
            self._starters = [*(self._starters or ()), outcome]
            down = await outcome
            if down is not None:
                raise StartFailed(f"{self.path}: did not start: {down.error!r}") from down.error

    def _settle_start(self, down: Down | None) -> None:
        for outcome in self._starters or ():
            if not outcome.done():
                outcome.set_result(down)
        self._starters = None

    def _make_actor(self) -> Actor[M]:
        actor = self.factory()
        actor.bind(self)
        self.actor = actor
        return actor

    def _set_running(self) -> None:
        self.state = State.RUNNING
        self._main_due = self.actor is not None and type(self.actor).main is not Actor.main
        self._up_since = self.system.clock.now()
        if self.system.observer is not None:
            self.system.report(Started(self.path, self.restarts))
        if self._starters is not None:
            self._settle_start(None)
        if self.restarts:
            self._tell_family()

    def _tell_family(self) -> None:
        if self.parent is not None and self.parent.family is not None:
            self.parent.family.news()

    # -- a turn ------------------------------------------------------------------------------

    def _schedule(self) -> None:
        if self._awaits and not EAGER:
            self._start_task()
        else:
            self.system.run_queue.add(self)

    def _schedule_now(self) -> None:
        if not self.system.run_queue.run_now(self):
            self._schedule()

    def step(self, at_most: int) -> int:
        """Handle up to `at_most` messages, until one must wait; a task goes on from there."""
        if self._task is not None or self.state >= State.PAUSED:
            return 1
        actor = self.actor
        if self.state is not State.RUNNING or self._look or actor is None:
            self._start_task()
            return 1
        mailbox = self.mailbox
        left = at_most
        try:
            while left and mailbox.queue:
                left -= 1
                message = mailbox.queue.popleft()
                if mailbox.line:
                    mailbox.admit(mailbox.line)
                if type(message) is Asked:
                    message = self._open(message)
                self.current = message
                hook = actor.receive(message)  # type: ignore[arg-type]  # no longer Asked
                if hook is not None:
                    self._awaits = True
                    self._start_task(hook)
                    return at_most - left
                if self._pending:
                    self._settle_pending()
                if self._look:
                    break
        except BaseException as error:
            if not self._is_crash(error):
                self._end(Exit.CRASHED, error)
                raise
            self._start_task(None, error)
            return at_most - left
        self.current = None
        if self._look:
            if self.finished and self.lifecycle.restart is not Restart.PERMANENT:
                self._begin_stop(Exit.NORMAL)
                if self._ends_at_once and self._exit is not Exit.KILLED:
                    self._end(self._exit)
                    return at_most - left
            self._start_task()
        elif mailbox.queue:
            self.system.run_queue.add(self)
        else:
            self._busy = False
            mailbox.rest()
        return at_most - left

    def _settle_pending(self) -> None:
        pending = self._pending
        if pending and (len(pending) > 1 or pending[0].done):
            self._pending = [reply for reply in pending if not reply.done] or None

    # -- the task ----------------------------------------------------------------------------

    def _start_task(
        self, hook: Awaitable[None] | None = None, error: BaseException | None = None
    ) -> None:
        self._busy = True
        work = self._work(hook, error)
        if EAGER and self.system.run_queue.running is self:
            asyncio.Task(work, loop=asyncio.get_running_loop(), eager_start=True)
        else:
            self._task = asyncio.get_running_loop().create_task(work)

    async def _work(self, hook: Awaitable[None] | None, error: BaseException | None) -> None:
        """Do what there is to do, crashes and restarts included; then fall idle, or end.

        hook, error: what `step` has left, a handler that waits or what it raised.
        """
        task = self._task = cast("asyncio.Task[None]", asyncio.current_task())
        self.system.at_work[task] = self
        try:
            if self._exit is Exit.KILLED:
                if inspect.iscoroutine(hook):
                    hook.close()
                await self._be_killed()
            while self.state is not State.STOPPED:
                try:
                    if hook is not None:
                        started, hook = hook, None
                        self.since = self.system.clock.now()
                        await started
                        self.current = None
                        if self._pending:
                            self._settle_pending()
                        if not self.mailbox.queue and not self._look:
                            self._fall_idle()
                            return
                    if error is not None:
                        await self._recover(error)
                        error = None
                    await self._live()
                    if self.halting and self.state < State.STOPPING:
                        await self._halt()
                    if self.finished and self.state is State.RUNNING:
                        self._finish()
                    if self.state < State.STOPPING:
                        self._fall_idle()
                        return
                    await self._shut_down()
                except BaseException as raised:
                    if self._is_crash(raised):
                        # A wait that the stop has ended is no fault.
                        error = None if isinstance(raised, WaitEnded) else raised
                    elif isinstance(raised, asyncio.CancelledError):
                        if self.halting and self.state < State.STOPPING:
                            task.uncancel()
                            continue
                        await self._be_killed()
                    else:
                        if not isinstance(raised, GeneratorExit):  # else the loop is gone already
                            self._end(Exit.CRASHED, raised)
                        raise
        finally:
            del self.system.at_work[task]

    def _fall_idle(self) -> None:
        self._task = None
        if self.state is not State.PAUSED:
            self._busy = False
            self.mailbox.rest()

    async def _live(self) -> None:
        if self.state >= State.PAUSED or self.halting:
            return
        actor = self.actor if self.actor is not None else self._make_actor()
        if self.state is not State.RUNNING:
            hook = actor.started()
            if hook is not None:
                await hook
            if self.state >= State.STOPPING:
                return
            self._set_running()
        if self._main_due and not self.finished:
            self._main_due = False
            hook = actor.main()
            if hook is not None:
                await hook
        await self._drain(actor)

    async def _drain(self, actor: Actor[M]) -> None:
        mailbox = self.mailbox
        now = self.system.clock.now
        burst = BURST
        while True:
            if self._look:
                if self.state is not State.RUNNING or self.finished or self.halting:
                    return
                if self._control:
                    await self._handle_control(actor, self._control.popleft())
                    continue
                self._look = False
            if not mailbox.queue:
                return
            message = mailbox.queue.popleft()
            if mailbox.line:
                mailbox.admit(mailbox.line)
            if type(message) is Asked:
                message = self._open(message)
            self.current = message
            hook = actor.receive(message)  # type: ignore[arg-type]  # no longer Asked
            if hook is not None:
                self.since = now()
                await hook
            self.current = None
            if self._pending:
                self._settle_pending()
            burst -= 1
            if not burst:
                burst = BURST
                await asyncio.sleep(0)

    async def _handle_control(self, actor: Actor[M], control: Down | Exception) -> None:
        if isinstance(control, Exception):
            raise control
        hook = actor.down(control)
        if hook is not None:
            await hook

    # -- crash and restart -------------------------------------------------------------------

    async def _recover(self, error: BaseException) -> None:
        """After a crash: fail the askers, end the children, and wait for the restart, if any."""
        message = self.message_type
        self._fail_pending(AskCrashed, "crashed on the question", error)
        self.current = None
        delay = self._decide_restart(error)
        if self.system.observer is not None:
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
        family = self.parent.family if self.parent is not None else None
        if family is not None and family.together:
            family.restart_group(self, delay)
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
        family = self.parent.family
        assert family is not None
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
            self._tell_family()

    def resume(self) -> None:
        """The restart is due."""
        self._set_limit(None)
        self.state = State.STARTING
        self.restarts += 1
        if self.parent is not None and self.parent.family is not None:
            self.parent.family.tally.restarted += 1
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

    def finish(self) -> None:
        """End normally, after the message in hand."""
        if self.alive:
            self.finished = True
            self._look = True
            self._notify()

    def _finish(self) -> None:
        """The actor ended by itself; a permanent one is then restarted like one that crashed."""
        if self.lifecycle.restart is Restart.PERMANENT and self.parent is not None:
            raise NormalEnd(f"{self.path}: ended by itself")
        self._begin_stop(Exit.NORMAL)

    # -- as a parent -------------------------------------------------------------------------

    def spawn(
        self, factory: Callable[[], Actor[N]], name: str | None, lifecycle: Lifecycle
    ) -> "Cell[N]":
        """Start a child."""
        if self.state >= State.PAUSED:
            raise StartFailed(f"{self.path}: is stopping and starts no children")
        this = cast("Cell[object]", self)
        if self.family is None:
            self.family = Family(this)
        child: Cell[N] = Cell(self.system, this, name or self.system.new_name(), factory, lifecycle)
        self.family.add(child)
        child.launch()
        return child

    def child_gone(self, down: Down) -> None:
        """A child is no more; the actor's hook hears of it, and crashes the actor if it raises."""
        if self.family is not None:
            self.family.remove(down.name)
        if self.actor is None:
            return
        try:
            self.actor.child_ended(down)
        except Exception as error:
            if self.state < State.PAUSED:
                self.push_control(error)
            else:
                self.system.report(Crashed(self.path, error, "child_ended", None))
