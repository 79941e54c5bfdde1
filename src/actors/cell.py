"""The life of one actor: its states, its task, its end.

    STARTING ──▶ RUNNING ──▶ STOPPING ──▶ STOPPED
                 ▲     │
                 └─ PAUSED   from a crash until the restart is due

A cell stays while its actor objects come and go. One task at most works for it: it makes the
actor, handles controls before messages, and ends when there is nothing left. All of it runs on
one event loop; nothing here locks.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING, Final, Generic, TypeVar, cast

from actors.actor import Actor
from actors.ask import Asked, Reply
from actors.errors import AskCrashed, AskDropped, MailboxFull, NormalEnd, NotRunning, StartFailed
from actors.events import Crashed, DeadLetter, Started, Stopped, Stuck
from actors.family import Family
from actors.mailbox import Mailbox, Overflow
from actors.ref import ActorRef, Down
from actors.supervision import Exit, Lifecycle, Restart, RestartBook

if TYPE_CHECKING:
    from actors.clock import Timer
    from actors.system import ActorSystem

M = TypeVar("M")
N = TypeVar("N")

BURST: Final = 64
"""Messages handled in a row before the event loop gets a turn."""


class State(IntEnum):
    """Where in its life an actor is."""

    STARTING = 0
    RUNNING = 1
    PAUSED = 2
    STOPPING = 3
    STOPPED = 4


class Cell(Generic[M]):
    """The runtime's side of an actor."""

    __slots__ = (
        "_book",
        "_control",
        "_down",
        "_exit",
        "_limit",
        "_main_due",
        "_pending",
        "_starters",
        "_streak",
        "_task",
        "_timers",
        "_up_since",
        "_wake",
        "_watchers",
        "_watching",
        "actor",
        "current",
        "factory",
        "family",
        "finished",
        "lifecycle",
        "mailbox",
        "name",
        "parent",
        "restarts",
        "since",
        "state",
        "system",
    )

    def __init__(
        self,
        system: "ActorSystem",
        parent: "Cell[object] | None",
        name: str,
        factory: Callable[[], Actor[M]],
        lifecycle: Lifecycle,
    ) -> None:
        self.system = system
        self.parent = parent
        self.name = name
        self.factory = factory
        self.lifecycle = lifecycle
        self.state = State.STARTING
        self.actor: Actor[M] | None = None
        self.mailbox: Mailbox[M | Asked] = Mailbox(lifecycle.capacity, lifecycle.overflow)
        self.family: Family | None = None
        self.current: object = None
        self.since = 0.0
        self.restarts = 0
        self.finished = False
        self._task: asyncio.Task[None] | None = None
        self._control: deque[Down | Exception] | None = None
        self._wake: asyncio.Future[None] | None = None
        self._main_due = False
        self._exit = Exit.NORMAL
        self._down: Down | None = None
        self._limit: Timer | None = None
        self._book: RestartBook | None = None
        self._streak = 0
        self._up_since = 0.0
        self._pending: list[Reply[object]] | None = None
        self._timers: set[Timer] | None = None
        self._starters: list[asyncio.Future[Down | None]] | None = None
        self._watchers: list[Callable[[Down], None]] | None = None
        self._watching: list[Callable[[], None]] | None = None

    @property
    def path(self) -> str:
        """The names from the root, joined by `/`."""
        return self.name if self.parent is None else f"{self.parent.path}/{self.name}"

    @property
    def ref(self) -> ActorRef[M]:
        """The address for others."""
        return ActorRef(self)

    @property
    def alive(self) -> bool:
        """The actor takes messages."""
        return self.state < State.STOPPING

    # -- messages ----------------------------------------------------------------------------

    def put(self, message: M) -> None:
        """Take a message that nobody waits for."""
        if self.state >= State.STOPPING:
            self._discard(message)
            return
        self._offer(message, message)
        self._notify()

    async def put_waiting(self, message: M) -> None:
        """Take a message whose sender waits for room."""
        if self.state >= State.STOPPING:
            raise NotRunning(self.path, message)
        if self.mailbox.full and self.mailbox.overflow is Overflow.WAIT:
            await self.mailbox.wait(message)
        else:
            self.put(message)

    def put_question(self, message: M, reply: Reply[N]) -> Asked:
        """Take a question; where the policy is WAIT it stands in line for room."""
        if self.state >= State.STOPPING:
            raise NotRunning(self.path, message)
        asked = Asked(message, cast(Reply[object], reply))
        if self.mailbox.full and self.mailbox.overflow is Overflow.WAIT:
            self.mailbox.queue_up(asked, None)
        else:
            self._offer(asked, message)
        self._notify()
        return asked

    def withdraw(self, asked: Asked) -> None:
        """Take a question back that still stands in line."""
        if self.mailbox.waiting:
            self.mailbox.withdraw(asked)

    def push_control(self, control: Down | Exception) -> None:
        """Take what overtakes messages and is never refused: a down, or a crash from outside."""
        if self.state >= State.STOPPING:
            return
        if self._control is None:
            self._control = deque()
        self._control.append(control)
        self._notify()

    def _offer(self, item: M | Asked, message: M) -> None:
        try:
            displaced = self.mailbox.offer(item)
        except asyncio.QueueFull:
            raise MailboxFull(self.path, message) from None
        if displaced is not None:
            self._discard(displaced)

    def _notify(self) -> None:
        if self._task is None:
            self._run()
        elif self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _discard(self, item: M | Asked) -> None:
        if isinstance(item, Asked):
            item.reply.fail(AskDropped(f"{self.path}: the question was dropped"))
        self.system.dead_letters += 1
        if self.system.observer is not None:
            message = item.message if isinstance(item, Asked) else item
            self.system.report(DeadLetter(self.path, type(message).__name__))

    def _take(self) -> M:
        item = self.mailbox.take()
        if type(item) is not Asked:
            return cast(M, item)
        if self._pending is None:
            self._pending = []
        self._pending.append(item.reply)
        return cast(M, item.message)

    async def take_next(self) -> M:
        """The next message, for a hook that waits for it; a crash from outside ends the wait."""
        while True:
            if self._control and isinstance(self._control[0], Exception):
                raise cast(Exception, self._control.popleft())
            if self.mailbox.queue:
                return self._take()
            await self._sleep()

    async def _sleep(self) -> None:
        """Wait, inside the task, until something arrives or the state changes."""
        self._wake = asyncio.get_running_loop().create_future()
        try:
            await self._wake
        finally:
            self._wake = None

    def tell_after(self, delay: float, message: M) -> Callable[[], None]:
        """Put a message into the own mailbox later, unless this incarnation ends before."""
        timers = self._timers = self._timers if self._timers is not None else set()

        def due() -> None:
            timers.discard(timer)
            self.put(message)

        def cancel() -> None:
            timers.discard(timer)
            timer.cancel()

        timer = self.system.clock.call_later(delay, due)
        timers.add(timer)
        return cancel

    # -- watching ----------------------------------------------------------------------------

    def add_watcher(self, callback: Callable[[Down], None]) -> Callable[[], None]:
        """Call back once, at the end; at once if that was before."""
        if self._down is not None:
            callback(self._down)
            return lambda: None
        watchers = self._watchers = self._watchers if self._watchers is not None else []
        watchers.append(callback)
        return lambda: watchers.remove(callback) if callback in watchers else None

    def watch_other(self, ref: ActorRef[N]) -> Callable[[], None]:
        """Get that actor's end as a control."""
        unwatch = ref.watch(self.push_control)
        if self._watching is None:
            self._watching = []
        self._watching.append(unwatch)
        return unwatch

    async def join(self) -> Down:
        """Wait for the end."""
        gone: asyncio.Future[Down] = asyncio.get_running_loop().create_future()
        unwatch = self.add_watcher(lambda down: None if gone.done() else gone.set_result(down))
        try:
            return await gone
        finally:
            unwatch()

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

    # -- the task ----------------------------------------------------------------------------

    def launch(self) -> None:
        """Make the actor and get it going. Raises StartFailed if the factory raises."""
        try:
            actor = self._make_actor()
        except Exception as error:
            self._end(Exit.CRASHED, error)
            raise StartFailed(f"{self.path}: did not start: {error!r}") from error
        kind = type(actor)
        if kind.started is Actor.started and kind.main is Actor.main:
            self._set_running()
        else:
            self._run()

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

    def _run(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        """Do what there is to do, crashes and restarts included; then fall idle, or end."""
        error: BaseException | None = None
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
            except asyncio.CancelledError as cancelled:
                if self._must_end():
                    await self._be_killed()
                    return
                error = cancelled
            except Exception as crash:
                error = crash
            except BaseException as fatal:
                self._end(Exit.CRASHED, fatal)
                raise

    def _must_end(self) -> bool:
        """This task was cancelled; else the handler met some other cancelled future."""
        return self._task is None or self._task.cancelling() > 0

    async def _live(self) -> None:
        if self.state >= State.STOPPING:
            return
        actor = self.actor or self._make_actor()
        if self.state is not State.RUNNING:
            hook = actor.started()
            if hook is not None:
                await hook
            if self.state >= State.STOPPING:
                return
            self._set_running()
        if self._main_due:
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
        """After a crash: fail the asker, end the children, and wait for the restart, if any."""
        message = self.message_type
        self._fail_pending(AskCrashed(f"{self.path}: crashed on the question"), error)
        self.current = None
        if self.state >= State.STOPPING:
            await self._shut_down(error)
            return
        delay = None
        if self.parent is None:
            self.system.fail(error)
        elif self.parent.family is not None:
            first_start = self.state is State.STARTING
            delay = None if first_start else self.parent.family.decide_restart(self, error)
        self.state = State.PAUSED
        if self.system.observer is not None:
            self.system.report(Crashed(self.path, error, message, delay))
        await self._stop_children()
        if delay is None:
            self._end(Exit.CRASHED, error)
            return
        await self._clean_up_quietly()
        self._drop_incarnation()
        await self._pause(delay)
        if self.state is State.PAUSED and self.parent is not None:
            self.restarts += 1
            self.parent.count_restart()

    async def _pause(self, delay: float) -> None:
        due = self.system.clock.now() + delay
        timer = self.system.clock.call_later(delay, self._notify)
        try:
            while self.state is State.PAUSED and self.system.clock.now() < due:
                await self._sleep()
        finally:
            timer.cancel()

    def _drop_incarnation(self) -> None:
        self.actor = None
        self.finished = False
        for timer in self._timers or ():
            timer.cancel()
        self._timers = None
        for unwatch in self._watching or ():
            unwatch()
        self._watching = None
        self._control = None

    def _fail_pending(self, error: Exception, cause: BaseException | None = None) -> None:
        error.__cause__ = cause
        for reply in self._pending or ():
            reply.fail(error)
        self._pending = None

    def restart_book(self) -> RestartBook:
        """The book of a child that has an intensity of its own."""
        if self._book is None:
            self._book = RestartBook()
        return self._book

    def next_pause(self, now: float) -> float:
        """Seconds of backoff before the next restart."""
        backoff = self.lifecycle.backoff
        if now - self._up_since >= backoff.maximum:
            self._streak = 0
        pause = backoff.pause(self._streak, self.system.random)
        self._streak += 1
        return pause

    @property
    def message_type(self) -> str:
        """The type of the message in hand."""
        return "" if self.current is None else type(self.current).__name__

    # -- as a parent -------------------------------------------------------------------------

    def spawn(
        self, factory: Callable[[], Actor[N]], name: str | None, lifecycle: Lifecycle
    ) -> "Cell[N]":
        """Start a child."""
        if self.state >= State.STOPPING:
            raise StartFailed(f"{self.path}: is stopping and starts no children")
        this = cast("Cell[object]", self)
        if self.family is None:
            self.family = Family(this)
        child: Cell[N] = Cell(self.system, this, name or self.system.new_name(), factory, lifecycle)
        self.family.add(child)
        child.launch()
        return child

    def count_restart(self) -> None:
        """Enter the restart of a child."""
        if self.family is not None:
            self.family.tally.restarted += 1

    def child_gone(self, child: "Cell[N]", down: Down) -> None:
        """A child is no more; the actor's hook hears of it, and crashes the actor if it raises."""
        if self.family is not None:
            self.family.remove(child)
        if self.actor is not None:
            try:
                self.actor.child_ended(down)
            except Exception as error:
                self.push_control(error)

    async def _stop_children(self) -> None:
        if self.family is not None:
            await self.family.stop_all()

    # -- the end -----------------------------------------------------------------------------

    def stop(self, limit: float | None = None) -> None:
        """Have the actor end within `limit` seconds (None: its own), then cancel it."""
        if limit is None:
            limit = self.lifecycle.shutdown
        if self.state is State.STOPPED or (self.state is State.STOPPING and limit > 0):
            return
        self._begin_stop(Exit.SHUTDOWN)
        if self._task is None:
            if (self.family and self.family.members) or (
                self.actor is not None and type(self.actor).stopped is not Actor.stopped
            ):
                self._run()
            else:
                self._end(self._exit)
                return
        elif self._task is asyncio.current_task():
            return
        if self._limit is not None:
            self._limit.cancel()
        if limit <= 0:
            self._kill()
        else:
            self._limit = self.system.clock.call_later(limit, self._kill)
            self._notify()

    def _begin_stop(self, exit: Exit) -> None:
        if self.state >= State.STOPPING:
            return
        self.state = State.STOPPING
        self._exit = exit
        for item in self.mailbox.close(lambda item: NotRunning(self.path, item)):
            self._discard(item)

    def _finish(self) -> None:
        """The actor ended by itself; a permanent one is then restarted like one that crashed."""
        if self.lifecycle.restart is Restart.PERMANENT and self.parent is not None:
            raise NormalEnd(f"{self.path}: ended by itself")
        self._begin_stop(Exit.NORMAL)

    def _kill(self) -> None:
        if self.state is State.STOPPED or self._task is None:
            return
        self._exit = Exit.KILLED
        self._task.cancel()
        self._limit = self.system.clock.call_later(self.system.kill_grace, self._abandon)

    def _abandon(self) -> None:
        """The task did not end on cancel: say so, and go on without it."""
        if self.state is State.STOPPED:
            return
        self.system.report(Stuck(self.path, self.message_type, self.system.kill_grace))
        if self.family is not None:
            for child in list(self.family.members.values()):
                child.stop(limit=0.0)
        self._end(Exit.KILLED)

    async def _be_killed(self) -> None:
        """Cancelled: the children still end in order, `stopped` does not run."""
        self._begin_stop(Exit.KILLED)
        await self._stop_children()
        self._end(Exit.KILLED)

    async def _shut_down(self, error: BaseException | None = None) -> None:
        await self._stop_children()
        if error is None and self.actor is not None:
            hook = self.actor.stopped()
            if hook is not None:
                await hook
        self._end(Exit.CRASHED if error is not None else self._exit, error)

    async def _clean_up_quietly(self) -> None:
        """`stopped` before a restart; what it raises must not hide the first error."""
        if self.actor is None:
            return
        try:
            hook = self.actor.stopped()
            if hook is not None:
                await hook
        except Exception as error:
            self.system.report(Crashed(self.path, error, "stopped", None))

    def _end(self, exit: Exit, error: BaseException | None = None) -> None:
        if self.state is State.STOPPED:
            return
        self._begin_stop(exit)
        self.state = State.STOPPED
        self._task = None
        if self._limit is not None:
            self._limit.cancel()
        self._fail_pending(AskDropped(f"{self.path}: stopped before it answered"), error)
        self._drop_incarnation()
        down = self._down = Down(self.path, self.name, exit, error)
        if self._starters is not None:
            self._settle_start(down)
        if self.parent is not None:
            self.parent.child_gone(self, down)
        if self.system.observer is not None:
            self.system.report(Stopped(down.path, exit))
        watchers, self._watchers = self._watchers, None
        for callback in watchers or ():
            try:
                callback(down)
            except Exception as failed:
                self.system.report(Crashed(self.path, failed, "watch", None))
