"""The life of one actor: its states, its task, its restarts.

    STARTING ──▶ RUNNING ──▶ STOPPING ──▶ STOPPED
        ▲           │
        └─ PAUSED ◀─┘   from a crash until the restart is due

A cell stays while its actor objects come and go. Messages are handled on its turn in the run queue
(`actors.runtime.turns`), as long as the handlers are plain functions. Whatever must wait is done in
a task, one at most: it starts the actor, handles controls before messages, and ends when nothing is
left.

What reaches the actor is in `actors.runtime.inbox`, how it ends in `actors.runtime.ending`, what
follows a crash in `actors.runtime.restarting`.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Generic, Never, TypeVar, cast

from actors.errors import NormalEnd, StartFailed
from actors.runtime.actor import Actor
from actors.runtime.children import Children
from actors.runtime.crashes import is_crash
from actors.runtime.eager import EAGER, begin
from actors.runtime.events import Crashed
from actors.runtime.inbox import WaitEnded
from actors.runtime.mailbox import NOTHING
from actors.runtime.ref import ActorRef, Down
from actors.runtime.runqueue import MESSAGES_PER_TURN
from actors.runtime.states import PAUSED, RUNNING, STARTING, STOPPED, STOPPING
from actors.runtime.supervision import Exit, Lifecycle, Restart
from actors.runtime.turns import RunQueueTurns

if TYPE_CHECKING:
    pass

M = TypeVar("M")
N = TypeVar("N")


class Cell(RunQueueTurns[M], Generic[M]):
    """The runtime's side of an actor."""

    __slots__ = ()

    @property
    def ref(self) -> ActorRef[M]:
        """The address for others."""
        return ActorRef(self)

    # -- the start ---------------------------------------------------------------------------

    def launch(self) -> None:
        """Make the actor and get it going. Raises StartFailed if the factory raises."""
        try:
            ready = self._make_ready()
        except BaseException as error:
            if not is_crash(error):
                raise
            assert self.siblings is not None  # the root's does not raise
            self.siblings.tally.crashed += 1
            self._end(Exit.CRASHED, error)
            raise StartFailed(f"{self.path}: did not start: {error!r}") from error
        if not ready:
            self._busy = True
            self._schedule()

    async def ready(self) -> None:
        """Wait until the actor runs; raise StartFailed if it ends before."""
        if self._down is not None:
            raise StartFailed(f"{self.path}: did not start") from self._down.error
        if self.state is STARTING:
            outcome: asyncio.Future[Down | None] = asyncio.get_running_loop().create_future()
            self._open_watchers().starters.append(outcome)
            down = await outcome
            if down is not None:
                raise StartFailed(f"{self.path}: did not start: {down.error!r}") from down.error

    # -- the task ----------------------------------------------------------------------------

    def _schedule(self) -> None:
        if EAGER or not self._needs_task:
            self.system.run_queue.add(self)
        else:
            self._start_task()

    @property
    def _needs_task(self) -> bool:
        """A turn would but start a task, which begins one turn of the loop later still."""
        actor = self.actor
        if actor is None or self.state is not RUNNING:
            return True
        code = getattr(type(actor).receive, "__code__", None)
        return code is not None and code.co_flags & inspect.CO_COROUTINE != 0

    def _start_task(
        self,
        hook: Awaitable[None] | None = None,
        error: BaseException | None = None,
        at_most: int = MESSAGES_PER_TURN,
    ) -> None:
        self._busy = True
        if self.mailbox.first is not NOTHING:
            self.mailbox.unfold()
        self._begin(self._work(hook, error, at_most))

    def _begin(self, work: Coroutine[object, object, None]) -> None:
        if EAGER and self.system.run_queue.running is self:
            _ = begin(work)  # `_work` keeps its own task
            if self._task is not None:
                self._look = True  # it has waited: from now on each message is timed
        else:
            self._task = asyncio.get_running_loop().create_task(work)

    async def _work(
        self,
        hook: Awaitable[None] | None,
        error: BaseException | None,
        at_most: int = MESSAGES_PER_TURN,
    ) -> None:
        """Do what there is to do, crashes and restarts included; then fall idle, or end.

        hook, error: what `step` has left, a handler that waits or what it raised. at_most: messages
        to handle after that, before others have their turn.
        """
        task = self._task = asyncio.current_task()
        assert task is not None
        self.system.at_work[task] = cast("Cell[Never]", self)
        try:
            if self._exit is Exit.KILLED:
                if inspect.iscoroutine(hook):
                    hook.close()
                await self._be_killed()
            while self.state is not STOPPED:
                try:
                    if hook is not None:
                        started, hook = hook, None
                        self.since = self.system.clock.now()
                        await started
                        self.current = None
                        if not self.mailbox.queue and not self._must_look():
                            self._fall_idle()
                            return
                    if error is not None:
                        await self._recover(error)
                        error = None
                    await self._live(at_most)
                    if self.halting and self.state < STOPPING:
                        await self._halt()
                    if self.finished and self.state is RUNNING:
                        self._finish()
                    if self.state < STOPPING:
                        self._fall_idle()
                        return
                    await self._shut_down()
                except BaseException as raised:
                    error = await self._take_raised(raised, task)
        finally:
            del self.system.at_work[task]

    async def _take_raised(
        self, raised: BaseException, task: asyncio.Task[None]
    ) -> BaseException | None:
        """Return the crash to recover from, None if there is none; raise what ends the program."""
        try:
            if self._is_crash(raised):
                # A wait that the stop has ended is no fault.
                over = isinstance(raised, WaitEnded) or self._recover_at_once(raised)
                return None if over else raised
            if not isinstance(raised, asyncio.CancelledError):
                if not isinstance(raised, GeneratorExit):  # else the loop is gone already
                    self._end(Exit.CRASHED, raised)
                raise raised
            if self.halting and self.state < STOPPING:
                task.uncancel()
            else:
                await self._be_killed()
            return None
        finally:
            del raised  # no circle is left for the garbage collector

    def _fall_idle(self) -> None:
        self._task = None
        if self._pending:
            self._settle_pending()
        if self.state is PAUSED:
            return
        if self.mailbox.queue or self.state is STARTING:
            self._schedule()
        else:
            self._busy = False
            self.mailbox.rest()

    async def _live(self, at_most: int) -> None:
        if self.actor is None and self.restarts % MESSAGES_PER_TURN == 0:
            await asyncio.sleep(0)  # who crashes and crashes without a pause lets others in between
        if self.state >= PAUSED or self.halting:
            return
        if self.actor is None:
            self._make_ready()
        actor = self.actor
        assert actor is not None
        if self.state is not RUNNING:
            hook = actor.started()
            if hook is not None:
                await hook
            if self.state >= STOPPING:
                return
            self._set_running()
            hook = None if self.finished else actor.main()
            if hook is not None:
                await hook
        await self._drain(actor, at_most)

    def _must_look(self) -> bool:
        """There is something before the next message: a control, a stop, the end."""
        if self._look and self.state is RUNNING:
            self._look = self.finished or self.halting or self._control is not None
        return self._look

    async def _drain(self, actor: Actor[M], at_most: int) -> None:
        mailbox = self.mailbox
        run_queue = self.system.run_queue
        given = at_most
        while True:
            while self._look and self._must_look():
                self.current = None
                if self.state is not RUNNING or self.finished or self.halting:
                    return
                await self._handle_control(actor, self._take_control())
            # Until it waits for something its turn goes on, and `since` says when that began.
            waits = run_queue.running is not self
            queue = mailbox.queue
            waiting = min(len(queue), at_most)
            if not waiting:
                self.current = None
                run_queue.left -= given - at_most
                if not queue:
                    return
                if EAGER:
                    if waits or run_queue.ready or run_queue.left <= MESSAGES_PER_TURN:
                        return
                else:
                    await asyncio.sleep(0)
                # It would have the next turn too: this saves a task.
                given = at_most = MESSAGES_PER_TURN
                continue
            left = at_most
            try:
                for left in range(at_most - 1, at_most - waiting - 1, -1):  # noqa: B007 - read below
                    self.current = message = queue.popleft()
                    if mailbox.mixed:
                        self.current = message = self._unwrap(message)
                    hook = actor.receive(message)  # type: ignore[arg-type]  # `_unwrap` leaves no Asked
                    if hook is not None:
                        if waits:  # where EAGER it may not
                            self.since = self.system.clock.now()
                        await hook
                    if self._look:
                        break
            except BaseException as error:
                if not is_crash(error) or not self._recover_at_once(error):
                    raise
                if self.state is not STARTING or not self._make_ready():
                    return
                assert self.actor is not None
                actor = self.actor
            at_most = left

    async def _handle_control(self, actor: Actor[M], control: Down | BaseException) -> None:
        if isinstance(control, BaseException):
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
        if self.lifecycle.restart is Restart.PERMANENT and self.siblings is not None:
            raise NormalEnd(f"{self.path}: ended by itself")
        self._begin_stop(Exit.NORMAL)

    # -- as a parent -------------------------------------------------------------------------

    def spawn(
        self, factory: Callable[[], Actor[N]], name: str | None, lifecycle: Lifecycle
    ) -> "Cell[N]":
        """Start a child."""
        if self.state >= PAUSED:
            raise StartFailed(f"{self.path}: is stopping and starts no children")
        children = self.open_children()
        if name is None:
            name = self.system.new_name()
            while name in children.members:
                name = self.system.new_name()
        child: Cell[N] = Cell(self.system, children, name, factory, lifecycle)
        children.add(child)
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
        children = self.open_children()
        child: Cell[N] = Cell(self.system, children, name, factory, lifecycle)
        children.add(child)
        child.actor = actor
        child._busy = True
        child._task = task
        self.system.at_work[task] = cast("Cell[Never]", child)
        child._set_running()
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

    def open_children(self) -> Children:
        """What is known of its children, of whom there may have been none yet."""
        if self.children is None:
            self.children = Children(cast("Cell[object]", self))
        return self.children

    def child_gone(self, down: Down) -> None:
        """A child is no more; the actor's hook hears of it, and crashes the actor if it raises."""
        assert self.children is not None
        self.children.remove(down.name)
        if self.actor is None:
            return
        try:
            self.actor.child_ended(down)
        except BaseException as error:
            if not is_crash(error):
                raise
            if self.state < PAUSED:
                self.push_control(error)
            else:
                self.system.report(Crashed(self.path, error, "child_ended", None))
