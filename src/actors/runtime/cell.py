"""The runtime's side of an actor: its mailbox, its incarnations and its watchers.

A cell outlives its actor objects; `actors.runtime.states` has its life cycle as a table. Handlers
run in the cell's turn in the run queue (`actors.runtime.turns`) until one must wait. Whatever must
wait is done in a task, of which there is at most one (`actors.runtime.work`).

`actors.runtime.ending` has the end of an actor, `actors.runtime.restarting` what follows a crash.
Everything runs on one event loop, so there are no locks.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, ClassVar, Generic, Never, TypeVar, cast

from actors.errors import MailboxFull, StartFailed
from actors.runtime import ending, receiving, restarting, turns, work
from actors.runtime.actor import Actor
from actors.runtime.children import Children
from actors.runtime.crashes import is_crash
from actors.runtime.eager import EAGER, begin
from actors.runtime.events import Crashed
from actors.runtime.incarnation import Incarnation
from actors.runtime.mailbox import NOTHING, Mailbox
from actors.runtime.ref import ActorRef
from actors.runtime.runqueue import MESSAGES_PER_TURN
from actors.runtime.states import PAUSED, STARTING, STOPPING, TRANSITIONS, State, Trigger
from actors.runtime.supervision import Down, Exit, Lifecycle, Record, Restart
from actors.runtime.watch import Watchers

if TYPE_CHECKING:
    from actors.runtime.ask import Asked
    from actors.runtime.clock import Timer
    from actors.runtime.system import ActorSystem

M = TypeVar("M")
N = TypeVar("N")


class Cell(Generic[M]):
    """One actor, as the runtime sees it.

    busy: the mailbox will be looked at (by the run queue, a task or a restart timer), or the actor
    is stopping. look: something may come before the next message: a control, a stop, the end.
    current: the message being handled. since: when a task last began to await a handler. handled:
    messages, while they are counted. exit: how the actor ends, valid from STOPPING on. limit: the
    timer for the current step, such as a shutdown limit or a backoff.
    """

    __slots__ = (
        "busy", "children", "current", "down", "exit", "factory", "handled", "incarnation",
        "lifecycle", "limit", "look", "mailbox", "name", "record", "siblings", "since", "state",
        "system", "task", "watchers",
    )  # fmt: skip

    retries_start: ClassVar[bool] = False
    """Whether a crash of the first `started` is followed by a restart, as any other is."""

    def __init__(
        self,
        system: "ActorSystem",
        siblings: Children | None,
        name: str,
        factory: Callable[[], Actor[M]],
        lifecycle: Lifecycle,
    ) -> None:
        self.system: ActorSystem = system
        self.siblings: Children | None = siblings
        """The child table that contains this actor; None for the root."""
        self.name: str = name
        self.factory: Callable[[], Actor[M]] | None = factory
        self.lifecycle: Lifecycle = lifecycle
        self.state: State = STARTING
        self.mailbox: Mailbox[M | Asked] = Mailbox(lifecycle.capacity, lifecycle.overflow)
        self.incarnation: Incarnation[M] = Incarnation()
        self.children: Children | None = None
        self.watchers: Watchers | None = None
        self.record: Record | None = None
        self.task: asyncio.Task[None] | None = None
        self.busy: bool = False
        self.look: bool = False
        self.current: object = None
        self.since: float = 0.0
        self.handled: int = 0
        self.exit: Exit = Exit.NORMAL
        self.down: Down | None = None
        self.limit: Timer | None = None

    # -- queries -----------------------------------------------------------------------------

    @property
    def ref(self) -> ActorRef[M]:
        """The actor's address."""
        return ActorRef(self)

    @property
    def parent(self) -> "Cell[object] | None":
        """The supervisor's cell; None for the root."""
        return None if self.siblings is None else self.siblings.parent

    @property
    def path(self) -> str:
        """The names from the root, joined by `/`."""
        return self.name if self.siblings is None else self.siblings.path_of(self.name)

    @property
    def alive(self) -> bool:
        """Return whether the actor takes messages."""
        return self.state < STOPPING

    @property
    def message_type(self) -> str:
        """The type of the message being handled; empty if there is none."""
        return "" if self.current is None else type(self.current).__name__

    @property
    def restarts(self) -> int:
        """How often the actor has been restarted."""
        return 0 if self.record is None else self.record.restarts

    @property
    def ends_at_once(self) -> bool:
        """Return whether the end has nothing to wait for: no child to stop, no `stopped` to run."""
        actor = self.incarnation.actor
        return not (self.children and self.children.members) and (
            actor is None or type(actor).stopped is Actor.stopped
        )

    def crashed_with(self, error: BaseException) -> bool:
        """Return whether `error` is a crash of the actor, not its task or the loop being ended."""
        if isinstance(error, asyncio.CancelledError):
            task = self.task
            return self.exit is not Exit.KILLED and (task is None or not task.cancelling())
        return is_crash(error)

    # -- life cycle --------------------------------------------------------------------------

    def move(self, trigger: Trigger) -> None:
        """Enter the state that the transition table has for this trigger."""
        self.state = TRANSITIONS[self.state][trigger]

    def launch(self) -> None:
        """Make the actor and start it. Raises StartFailed if the factory raises."""
        try:
            ready = self.make_ready()
        except BaseException as error:
            if not is_crash(error):
                raise
            assert self.siblings is not None  # the root's factory does not raise
            self.siblings.tally.crashed += 1
            ending.end(self, Exit.CRASHED, error)
            raise StartFailed(f"{self.path}: did not start: {error!r}") from error
        if not ready:
            self.busy = True
            self.schedule()

    def make_ready(self) -> bool:
        """Make the actor; return whether it is ready for messages, with no hook to run first."""
        assert self.factory is not None, "it is temporary or has ended: it is not made again"
        actor = self.incarnation.actor = self.factory()
        if self.lifecycle.restart is Restart.TEMPORARY:
            self.factory = None  # usually a closure; dropping it saves 200 bytes
        actor.bind(self)
        kind = type(actor)
        if kind.started is not Actor.started or kind.main is not Actor.main:
            return False
        if self.state is not STARTING:  # stopped by its own factory
            return False
        self.set_running()
        return True

    def set_running(self) -> None:
        """Enter RUNNING and notify those who wait for the start."""
        self.move(Trigger.READY)
        self.incarnation.up_since = self.system.clock.now()
        self.system.report_start(self)
        if self.watchers is not None:
            self.watchers.started(None)
        if self.siblings is not None and self.siblings.group_restart is not None:
            self.siblings.group_restart.news()

    async def ready(self) -> None:
        """Wait until the actor is ready. Raises StartFailed if it ends before that."""
        if self.down is not None:
            raise StartFailed(f"{self.path}: did not start") from self.down.error
        if self.state is STARTING:
            outcome: asyncio.Future[Down | None] = asyncio.get_running_loop().create_future()
            self.open_watchers().starters.append(outcome)
            down = await outcome
            if down is not None:
                raise StartFailed(f"{self.path}: did not start: {down.error!r}") from down.error

    def finish(self) -> None:
        """End normally after the current message."""
        if self.alive:
            self.incarnation.finished = True
            self.look = True
            self.notify()

    stop = ending.stop
    abandon = ending.abandon
    halt = restarting.halt
    resume = restarting.resume

    def add_watcher(self, callback: Callable[[Down], None]) -> Callable[[], None]:
        """Call `callback` once, when the actor ends, or now if it has; return what removes it."""
        if self.down is not None:
            callback(self.down)
            return lambda: None
        return self.open_watchers().add(callback)

    def open_record(self) -> Record:
        """Return the child's restart record, creating it on first use."""
        if self.record is None:
            self.record = Record()
        return self.record

    def open_watchers(self) -> Watchers:
        """Return the watchers, creating the object on first use."""
        if self.watchers is None:
            self.watchers = Watchers()
        return self.watchers

    async def join(self) -> Down:
        """Wait until the actor has ended, and return its Down."""
        if self.down is not None:
            return self.down
        gone: asyncio.Future[Down] = asyncio.get_running_loop().create_future()
        unwatch = self.add_watcher(lambda down: None if gone.done() else gone.set_result(down))
        try:
            return await gone
        finally:
            unwatch()

    # -- messages ----------------------------------------------------------------------------

    def put(self, message: M) -> None:
        """Take a message that nobody waits for. Raises MailboxFull under WAIT and REFUSE."""
        if not self.busy:
            self.busy = True
            self.mailbox.first = message
            if EAGER:
                run_queue = self.system.run_queue  # RunQueue.add inlined
                run_queue.ready.append(self)
                if not run_queue.scheduled:
                    run_queue.schedule()
            else:
                self.schedule()
        elif self.state >= STOPPING:
            self.discard(message)
        else:
            self.offer(message, message)
            self.notify()

    put_waiting = receiving.put_waiting
    put_question = receiving.put_question
    withdraw = receiving.withdraw
    offer = receiving.offer
    discard = receiving.discard
    refusal = receiving.refusal
    unwrap = receiving.unwrap
    take_next = work.take_next

    def push_control(self, control: Down | BaseException) -> None:
        """Queue a control: a Down or a crash from outside, which is handled before any message.

        It is never refused, but dropped once the actor is stopping.
        """
        if self.state < STOPPING:
            self.incarnation.add_control(control)
            self.look = True
            self.notify()

    def watch_other(self, ref: ActorRef[N]) -> Callable[[], None]:
        """Receive that actor's end as a control; return a function that ends the watch."""
        return self.incarnation.add_watch(ref.watch, self.push_control)

    def tell_after(self, delay: float, message: M) -> Callable[[], None]:
        """Put `message` into the actor's own mailbox in `delay` seconds; return what cancels it.

        The timer is cancelled when the incarnation ends.
        """

        def put() -> None:
            try:
                self.put(message)
            except MailboxFull:  # there is no sender to raise it in
                self.discard(message)

        return self.incarnation.call_later(self.system.clock, delay, put)

    # -- work --------------------------------------------------------------------------------

    step = turns.step
    put_now = turns.put_now

    schedule = turns.schedule

    def notify(self) -> None:
        """Wake the actor's task if it waits for messages; schedule the actor if it is idle."""
        if not self.busy:
            self.busy = True
            self.schedule()
        else:
            wake = self.incarnation.wake
            if wake is not None and not wake.done():
                wake.set_result(None)

    def start_task(
        self,
        hook: Awaitable[None] | None = None,
        error: BaseException | None = None,
        at_most: int = MESSAGES_PER_TURN,
    ) -> None:
        """Start a task that awaits `hook` or recovers from `error`, then handles further messages.

        at_most: messages to handle after that before other actors get a turn.
        """
        self.busy = True
        if self.mailbox.first is not NOTHING:
            self.mailbox.unfold()
        self._begin(work.work(self, hook, error, at_most))

    def _begin(self, task: Coroutine[object, object, None]) -> None:
        if EAGER and self.system.run_queue.running is self:
            _ = begin(task)  # `work` stores its own task
            if self.task is not None:
                self.look = True  # it waits: have `_drain` record `since` from now on
        else:
            self.task = asyncio.get_running_loop().create_task(task)

    # -- as a parent -------------------------------------------------------------------------

    def open_children(self) -> Children:
        """Return the child table, creating it on first use."""
        if self.children is None:
            self.children = Children(cast("Cell[object]", self))
        return self.children

    def spawn(
        self, factory: Callable[[], Actor[N]], name: str | None, lifecycle: Lifecycle
    ) -> "Cell[N]":
        """Start a child and return its cell.

        Raises NameTaken, and StartFailed if the factory raises or this actor is paused or stopping.
        """
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
        """Make a child of an `actor.main()` that already runs in `task`; return its cell.

        The task must end with `carry_on`. Since the work already runs, it is accepted even if this
        actor has been told to stop; the child is then stopped with the others. Raises NameTaken.
        """
        children = self.open_children()
        child: Cell[N] = Cell(self.system, children, name, factory, lifecycle)
        children.add(child)
        child.incarnation.actor = actor
        child.busy = True
        child.task = task
        self.system.at_work[task] = cast("Cell[Never]", child)
        child.set_running()
        return child

    carry_on = work.carry_on

    def child_gone(self, down: Down) -> None:
        """Remove a child that has ended, and call `child_ended`; what that raises is a crash."""
        assert self.children is not None
        self.children.remove(down.name)
        actor = self.incarnation.actor
        if actor is None:
            return
        try:
            actor.child_ended(down)
        except BaseException as error:
            if not is_crash(error):
                raise
            if self.state < PAUSED:
                self.push_control(error)
            else:
                self.system.report(Crashed(self.path, error, "child_ended", None))
