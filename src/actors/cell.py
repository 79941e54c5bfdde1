"""The life of one actor: its states, its task, its restarts.

    STARTING ──▶ RUNNING ──▶ STOPPING ──▶ STOPPED
        ▲           │
        └─ PAUSED ◀─┘   from a crash until the restart is due

A cell stays while its actor objects come and go. Messages are handled in `step`, on its turn in
the run queue, as long as the handlers are plain functions. Whatever must wait is done in a task,
one at most: it makes the actor, handles controls before messages, and ends when nothing is left.

What reaches the actor is in `actors.inbox`, how it ends in `actors.ending`, what follows a crash in
`actors.restarting`.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Generic, Never, TypeVar, cast

from actors.actor import Actor
from actors.ask import Asked
from actors.eager import EAGER, begin
from actors.errors import NormalEnd, StartFailed
from actors.events import Crashed, Started
from actors.family import Family
from actors.inbox import State, WaitEnded
from actors.ref import ActorRef, Down
from actors.restarting import Restarting
from actors.runqueue import BURST
from actors.supervision import Exit, Lifecycle, Restart

if TYPE_CHECKING:
    from actors.system import ActorSystem

M = TypeVar("M")
N = TypeVar("N")


class Cell(Restarting[M], Generic[M]):
    """The runtime's side of an actor."""

    __slots__ = ("_awaits", "_main_due", "_starters", "factory", "since")

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
        self._main_due = False
        # Its handlers have been seen to wait: where tasks are not eager, it gets one at once.
        self._awaits = False
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
            self._siblings.tally.crashed += 1
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
        if self.system.observed:
            self.system.report(Started(self.path, self.restarts))
        if self._starters is not None:
            self._settle_start(None)
        if self.restarts:
            self._siblings.news()

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
        look = self._look
        if look or self.state is not State.RUNNING or actor is None:
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

    def put_now(self, message: M) -> None:
        """`put`, and a turn at once where nothing and nobody stands before the message."""
        queue = self.system.run_queue
        actor = self.actor
        if self._busy or self._look or queue.running is not None or actor is None:
            self.put(message)
            return
        self._busy = True
        queue.running = self
        self.current = message
        try:
            hook = actor.receive(message)
            if hook is not None:
                self._awaits = True
                self._start_task(hook)
                return
        except BaseException as error:
            if self._is_crash(error):
                self._start_task(None, error)
                return
            self._end(Exit.CRASHED, error)
            raise
        finally:
            queue.running = None
        self.current = None
        if self._look or self.mailbox.queue:  # type: ignore[redundant-expr]  # a handler sets it
            queue.add(self)
        else:
            self._busy = False

    def _settle_pending(self) -> None:
        pending = self._pending
        if pending and (len(pending) > 1 or pending[0].done):
            self._pending = [reply for reply in pending if not reply.done] or None

    # -- the task ----------------------------------------------------------------------------

    def _start_task(
        self, hook: Awaitable[None] | None = None, error: BaseException | None = None
    ) -> None:
        self._busy = True
        self._begin(self._work(hook, error))

    def _begin(self, work: Coroutine[object, object, None]) -> None:
        if EAGER and self.system.run_queue.running is self:
            _ = begin(work)  # `_work` keeps its own task
        else:
            self._task = asyncio.get_running_loop().create_task(work)

    async def _work(self, hook: Awaitable[None] | None, error: BaseException | None) -> None:
        """Do what there is to do, crashes and restarts included; then fall idle, or end.

        hook, error: what `step` has left, a handler that waits or what it raised.
        """
        task = self._task = cast("asyncio.Task[None]", asyncio.current_task())
        self.system.at_work[task] = cast("Cell[Never]", self)
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

    # -- the end by itself ----------------------------------------------------------------------

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
        family = self.open_family()
        if name is None:
            name = self.system.new_name()
            while name in family.members:
                name = self.system.new_name()
        child: Cell[N] = Cell(self.system, this, name, factory, lifecycle)
        family.add(child)
        child.launch()
        return child

    def adopt(
        self,
        actor: Actor[N],
        factory: Callable[[], Actor[N]],
        name: str,
        lifecycle: Lifecycle,
        task: "asyncio.Task[None]",
    ) -> "Cell[N]":
        """Make a child of what runs already as `actor.main()` in this task.

        The task must end with `carry_on`. Nothing is refused, since it runs: where this actor has
        been told to stop meanwhile, the child is stopped with the others. Raises NameTaken.
        """
        this = cast("Cell[object]", self)
        child: Cell[N] = Cell(self.system, this, name, factory, lifecycle)
        self.open_family().add(child)
        child.actor = actor
        child._awaits = True
        child._busy = True
        child._task = task
        self.system.at_work[task] = cast("Cell[Never]", child)
        child._set_running()
        child._main_due = False
        return child

    async def carry_on(self, raised: BaseException | None) -> None:
        """Do the rest, in the task that the actor was adopted with; `raised` came out of `main`."""
        error: BaseException | None = None
        if raised is None:
            self.finished = True
            self._look = True
        elif self._is_crash(raised):
            error = None if isinstance(raised, WaitEnded) else raised
        elif isinstance(raised, asyncio.CancelledError):
            await self._be_killed()
        else:
            self._end(Exit.CRASHED, raised)
            raise raised
        await self._work(None, error)

    def open_family(self) -> Family:
        """What is known of its children, of whom there may have been none yet."""
        if self.family is None:
            self.family = Family(cast("Cell[object]", self))
        return self.family

    def child_gone(self, down: Down) -> None:
        """A child is no more; the actor's hook hears of it, and crashes the actor if it raises."""
        assert self.family is not None
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
