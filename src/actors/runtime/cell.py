"""The runtime's side of an actor: its mailbox, its incarnations, and who watches it.

A cell stays while its actor objects come and go; `actors.runtime.states` is its life as a table.
Messages are handled on its turn in the run queue (`actors.runtime.turns`), as long as the handlers
are plain functions. Whatever must wait is done in a task, one at most (`actors.runtime.work`).

How it ends is in `actors.runtime.ending`, what follows a crash in `actors.runtime.restarting`. All
of it runs on one event loop; nothing here locks.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Generic, Never, TypeVar, cast

from actors.errors import MailboxFull, StartFailed
from actors.runtime import ending, receiving, restarting, turns, work
from actors.runtime.actor import Actor
from actors.runtime.ask import Asked
from actors.runtime.children import Children
from actors.runtime.crashes import is_crash
from actors.runtime.eager import EAGER, begin
from actors.runtime.events import Crashed, Started
from actors.runtime.incarnation import Incarnation
from actors.runtime.mailbox import NOTHING, Mailbox
from actors.runtime.ref import ActorRef
from actors.runtime.runqueue import MESSAGES_PER_TURN
from actors.runtime.states import PAUSED, RUNNING, STARTING, STOPPING, TRANSITIONS, State, Trigger
from actors.runtime.supervision import Down, Exit, Lifecycle, Record
from actors.runtime.watch import Watchers

if TYPE_CHECKING:
    from actors.runtime.clock import Timer
    from actors.runtime.system import ActorSystem

M = TypeVar("M")
N = TypeVar("N")


class Cell(Generic[M]):
    """One actor, as the runtime sees it.

    busy: somebody will look into the mailbox: the run queue, a task, or a timer that restarts.
    look: before the next message there is something else: a control, a stop, the end. current: the
    message in hand. since: when it was taken, or the turn began in which it was. exit: how the
    actor ends, from `STOPPING` on. limit: runs when the time for what is under way is over.
    """

    __slots__ = (
        "busy", "children", "current", "down", "exit", "factory", "incarnation", "lifecycle",
        "limit", "look", "mailbox", "name", "record", "siblings", "since", "state", "system",
        "task", "watchers",
    )  # fmt: skip

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
        """The children that the actor is a child of; the root is in none."""
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
        self.exit: Exit = Exit.NORMAL
        self.down: Down | None = None
        self.limit: Timer | None = None

    # -- what others ask ---------------------------------------------------------------------

    @property
    def ref(self) -> ActorRef[M]:
        """The address for others."""
        return ActorRef(self)

    @property
    def parent(self) -> "Cell[object] | None":
        """Who looks after the actor; None: it is the root."""
        return None if self.siblings is None else self.siblings.parent

    @property
    def path(self) -> str:
        """The names from the root, joined by `/`."""
        siblings = self.siblings
        return self.name if siblings is None else f"{siblings.parent.path}/{self.name}"

    @property
    def alive(self) -> bool:
        """The actor takes messages."""
        return self.state < STOPPING

    @property
    def message_type(self) -> str:
        """The type of the message in hand."""
        return "" if self.current is None else type(self.current).__name__

    @property
    def restarts(self) -> int:
        """How often the actor was started again."""
        return 0 if self.record is None else self.record.restarts

    @property
    def ends_at_once(self) -> bool:
        """There is nothing to do at the end: no child to stop, no hook to run."""
        actor = self.incarnation.actor
        return not (self.children and self.children.members) and (
            actor is None or type(actor).stopped is Actor.stopped
        )

    def crashed_with(self, error: BaseException) -> bool:
        """Return whether that is the actor's own doing; else someone ends its task or the loop."""
        if isinstance(error, asyncio.CancelledError):
            task = self.task
            return self.exit is not Exit.KILLED and (task is None or not task.cancelling())
        return is_crash(error)

    # -- its life ----------------------------------------------------------------------------

    def move(self, trigger: Trigger) -> None:
        """Go on to the state that the table has for this trigger."""
        self.state = TRANSITIONS[self.state][trigger]

    def launch(self) -> None:
        """Make the actor and get it going. Raises StartFailed if the factory raises."""
        try:
            ready = self.make_ready()
        except BaseException as error:
            if not is_crash(error):
                raise
            assert self.siblings is not None  # the root's does not raise
            self.siblings.tally.crashed += 1
            ending.end(self, Exit.CRASHED, error)
            raise StartFailed(f"{self.path}: did not start: {error!r}") from error
        if not ready:
            self.busy = True
            self.schedule()

    def make_ready(self) -> bool:
        """Make the actor. False: something is to be done before its first message."""
        assert self.factory is not None, "a temporary actor is made once"
        actor = self.incarnation.actor = self.factory()
        if self.lifecycle.restart is restarting.TEMPORARY:
            self.factory = None  # a closure mostly, with what it holds: 200 bytes
        actor.bind(self)
        kind = type(actor)
        if kind.started is not Actor.started or kind.main is not Actor.main:
            return False
        if self.state is not STARTING:  # told to stop by its own factory
            return False
        self.set_running()
        return True

    def set_running(self) -> None:
        """The actor is ready: tell who waits for that."""
        self.move(Trigger.READY)
        self.incarnation.up_since = self.system.clock.now()
        if self.system.observed:
            self.system.report(Started(self.path, self.restarts))
        if self.watchers is not None:
            self.watchers.started(None)
        if self.siblings is not None and self.siblings.group_restart is not None:
            self.siblings.group_restart.news()

    async def ready(self) -> None:
        """Wait until the actor runs; raise StartFailed if it ends before."""
        if self.down is not None:
            raise StartFailed(f"{self.path}: did not start") from self.down.error
        if self.state is STARTING:
            outcome: asyncio.Future[Down | None] = asyncio.get_running_loop().create_future()
            self.open_watchers().starters.append(outcome)
            down = await outcome
            if down is not None:
                raise StartFailed(f"{self.path}: did not start: {down.error!r}") from down.error

    def finish(self) -> None:
        """End normally, after the message in hand."""
        if self.alive:
            self.incarnation.finished = True
            self.look = True
            self.notify()

    stop = ending.stop
    halt = restarting.halt
    resume = restarting.resume

    def add_watcher(self, callback: Callable[[Down], None]) -> Callable[[], None]:
        """Call back once, at the end; at once if that was before."""
        if self.down is not None:
            callback(self.down)
            return lambda: None
        return self.open_watchers().add(callback)

    def open_record(self) -> Record:
        """Return what the supervisor holds against this child; made at its first crash."""
        if self.record is None:
            self.record = Record()
        return self.record

    def open_watchers(self) -> Watchers:
        """Who hears of its start and its end; made when the first one asks."""
        if self.watchers is None:
            self.watchers = Watchers()
        return self.watchers

    async def join(self) -> Down:
        """Wait for the end."""
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
        """Take a message that nobody waits for."""
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
    unwrap = receiving.unwrap
    take_next = work.take_next

    def push_control(self, control: Down | BaseException) -> None:
        """Take what overtakes messages and is never refused: a down, or a crash from outside."""
        if self.state < STOPPING:
            self.incarnation.add_control(control)
            self.look = True
            self.notify()

    def watch_other(self, ref: ActorRef[N]) -> Callable[[], None]:
        """Get that actor's end as a control. The result ends the watch."""
        return self.incarnation.add_watch(ref.watch, self.push_control)

    def tell_after(self, delay: float, message: M) -> Callable[[], None]:
        """Put a message into the own mailbox later, unless this incarnation ends before."""

        def put() -> None:
            try:
                self.put(message)
            except MailboxFull:  # nobody is there to hear of it
                self.discard(message)

        return self.incarnation.call_later(self.system.clock, delay, put)

    # -- work --------------------------------------------------------------------------------

    step = turns.step
    put_now = turns.put_now

    def schedule(self) -> None:
        """Have the actor work: nobody does so far."""
        if EAGER or not self._needs_task:
            self.system.run_queue.add(self)
        else:
            self.start_task()

    @property
    def _needs_task(self) -> bool:
        """A turn would but start a task, which begins one turn of the loop later still."""
        actor = self.incarnation.actor
        if actor is None or self.state is not RUNNING:
            return True
        code = getattr(type(actor).receive, "__code__", None)
        return code is not None and code.co_flags & inspect.CO_COROUTINE != 0

    def notify(self) -> None:
        """Have whoever works for the actor look again; if nobody does, somebody will."""
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
        """Have a task go on with `hook` or after `error`, and then with that many messages."""
        self.busy = True
        if self.mailbox.first is not NOTHING:
            self.mailbox.unfold()
        self._begin(work.work(self, hook, error, at_most))

    def _begin(self, task: Coroutine[object, object, None]) -> None:
        if EAGER and self.system.run_queue.running is self:
            _ = begin(task)  # `work` keeps its own task
            if self.task is not None:
                self.look = True  # it has waited: from now on each message is timed
        else:
            self.task = asyncio.get_running_loop().create_task(task)

    # -- as a parent -------------------------------------------------------------------------

    def open_children(self) -> Children:
        """Return the table of its children; made for the first one."""
        if self.children is None:
            self.children = Children(cast("Cell[object]", self))
        return self.children

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
        child.incarnation.actor = actor
        child.busy = True
        child.task = task
        self.system.at_work[task] = cast("Cell[Never]", child)
        child.set_running()
        return child

    carry_on = work.carry_on

    def child_gone(self, down: Down) -> None:
        """A child is no more; the actor's hook hears of it, and crashes the actor if it raises."""
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
