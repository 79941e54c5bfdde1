"""The life of one actor: its states, its task, its restarts.

    STARTING ──▶ RUNNING ──▶ STOPPING ──▶ STOPPED
        ▲           │
        └─ PAUSED ◀─┘   from a crash until the restart is due

A cell stays while its actor objects come and go. One task at most works for it: it makes the
actor, handles controls before messages, and ends when there is nothing left.

What reaches the actor is in `actors.inbox`, how it ends in `actors.ending`.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Generic, TypeVar, cast

from actors.actor import Actor
from actors.ending import Ending
from actors.errors import AskCrashed, NormalEnd, StartFailed
from actors.events import Crashed, Started
from actors.family import Family
from actors.inbox import State, WaitEnded
from actors.ref import ActorRef, Down
from actors.supervision import Exit, Lifecycle, Record, Restart

if TYPE_CHECKING:
    from actors.system import ActorSystem

M = TypeVar("M")
N = TypeVar("N")

BURST: Final = 64
"""Messages handled in a row before the event loop gets a turn."""


class Cell(Ending[M], Generic[M]):
    """The runtime's side of an actor."""

    __slots__ = ("_main_due", "_record", "_starters", "factory", "restarts", "since")

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
            self._run()

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

    # -- the task ----------------------------------------------------------------------------

    def _run(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        """Do what there is to do, crashes and restarts included; then fall idle, or end."""
        error: BaseException | None = None
        if self._exit is Exit.KILLED:
            await self._be_killed()
        while self.state is not State.STOPPED:
            try:
                if error is not None:
                    await self._recover(error)
                    error = None
                await self._live()
                if self.finished and self.state is State.RUNNING:
                    self._finish()
                if self.state < State.STOPPING:
                    self._task = None
                    return
                await self._shut_down()
            except BaseException as raised:
                if self._is_crash(raised):
                    # A wait that the stop has ended is no fault.
                    error = None if isinstance(raised, WaitEnded) else raised
                elif isinstance(raised, asyncio.CancelledError):
                    await self._be_killed()
                else:
                    if not isinstance(raised, GeneratorExit):  # else the loop is gone already
                        self._end(Exit.CRASHED, raised)
                    raise

    async def _live(self) -> None:
        if self.state >= State.STOPPING:
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
        queue = self.mailbox.queue
        burst = BURST
        while self.state is State.RUNNING and not self.finished:
            if self._control:
                await self._handle_control(actor, self._control.popleft())
                continue
            if not queue:
                return
            message = self._take()
            self.current = message
            self.since = self.system.clock.now()
            hook = actor.receive(message)
            if hook is not None:
                await hook
            self.current = None
            if self._pending:
                self._pending = [reply for reply in self._pending if not reply.done]
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
        await self._pause(delay)

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

    async def _pause(self, delay: float) -> None:
        timer = self.system.clock.call_later(delay, self._resume)
        try:
            while self.state is State.PAUSED:
                await self._sleep()
        finally:
            timer.cancel()

    def _resume(self) -> None:
        if self.state is State.PAUSED:
            self.state = State.STARTING
            self.restarts += 1
            if self.parent is not None and self.parent.family is not None:
                self.parent.family.tally.restarted += 1
            self._notify()

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
