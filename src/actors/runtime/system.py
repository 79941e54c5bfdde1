"""The actor system: the root, the clock, the observers, and a snapshot of the whole tree."""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Never, TypeVar, cast

from actors.runtime.actor import Actor
from actors.runtime.cell import Cell
from actors.runtime.clock import Clock, LoopClock
from actors.runtime.crashes import is_crash
from actors.runtime.deadlines import Deadlines, DeadlineStatistics
from actors.runtime.events import EVENTS, Event, Observer, Restarted, Started
from actors.runtime.loopwatch import LoopWatch
from actors.runtime.ref import ActorRef
from actors.runtime.runqueue import RunQueue, RunQueueStatistics
from actors.runtime.spare_task import SpareTasks
from actors.runtime.states import State
from actors.runtime.supervision import DEFAULT_LIFECYCLE, Lifecycle, Tally
from actors.runtime.view import ActorView

if TYPE_CHECKING:
    from actors.runtime.cycles import Waiting

N = TypeVar("N")


@dataclass(frozen=True, slots=True)
class ActorSnapshot:
    """A snapshot of one actor and its children."""

    name: str
    type: str
    state: str
    mailbox: int
    capacity: int
    message: str
    """Type of the message being handled; empty if there is none."""
    busy_for: float
    """Seconds for which that message has been handled; 0 if there is none."""
    restarts: int
    tally: Tally
    """Counts of its children's starts, ends and restarts, since it was first started."""
    children: tuple["ActorSnapshot", ...] = field(default=())


@dataclass(frozen=True, slots=True)
class SystemStatistics:
    """A snapshot of what the actors of a system share."""

    run_queue: RunQueueStatistics
    deadlines: DeadlineStatistics
    tasks: int
    """Actors that have a task now, most of them because a handler waits."""
    dead_letters: int


class Root(Actor[Never]):
    """The top-level supervisor. If it gives up, the system has failed."""

    def receive(self, message: Never) -> None:
        """Do nothing: the root has no messages."""


class ActorSystem:
    """A tree of actors on the running event loop.

    clock, random: the runtime's sources of time and jitter. observer: subscribed from the start.
    kill_grace: seconds that a cancelled actor has to end before it is reported as stuck and
    abandoned. blocked_after: seconds of real time after which an actor that blocks the event loop
    is reported; None: never. run_queue: decides which actor runs next (for tests).
    """

    def __init__(
        self,
        *,
        name: str = "system",
        clock: Clock | None = None,
        random: Random | None = None,
        observer: Observer | None = None,
        kill_grace: float = 5.0,
        blocked_after: float | None = None,
        run_queue: RunQueue | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.clock: Clock = clock if clock is not None else LoopClock()
        self.random: Random = random if random is not None else Random()
        self._observers: dict[type[Event], tuple[Observer, ...]] = {}
        if observer is not None:
            self.subscribe(observer)
        self.kill_grace: float = kill_grace
        self.deadlines: Deadlines = Deadlines(self.clock)
        self.run_queue: RunQueue = run_queue if run_queue is not None else RunQueue()
        self.spare_tasks: SpareTasks = SpareTasks()
        self.at_work: dict[asyncio.Task[None], Cell[Never]] = {}
        self.waiting: dict[Cell[Never], Waiting] = {}
        """For each actor that waits for another in its own task: what it waits for."""
        self.dead_letters: int = 0
        self._names = 0
        self._failure: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self._root: Cell[Never] = Cell(self, None, name, Root, DEFAULT_LIFECYCLE)
        self._root.launch()
        self._watch = None if blocked_after is None else LoopWatch(self, blocked_after)
        if self._watch is not None:
            self._watch.start()

    def subscribe(
        self, observer: Observer, kinds: Collection[type[Event]] = EVENTS
    ) -> Callable[[], None]:
        """Call `observer` with every event from now on; return a function that unsubscribes it.

        kinds: only events of these classes. An observer costs nothing for an event of another.

        It is called synchronously: on the loop, except for `Blocked`, which comes from another
        thread. What it raises goes to the loop's exception handler and affects nothing else.
        """
        entry: Observer = lambda event: observer(event)  # noqa: E731 - one may subscribe twice
        wanted = frozenset(kinds)
        for kind in wanted:
            self._observers[kind] = (*self._observers.get(kind, ()), entry)

        def end() -> None:
            for kind in wanted:
                others = self._observers[kind]
                self._observers[kind] = tuple(other for other in others if other is not entry)

        return end

    def count_messages(self) -> Callable[[], None]:
        """Count the messages that actors handle, until the function that is returned is called.

        Without a caller none is counted, since that would cost each message a few percent. Counted
        are messages that have waited in a mailbox: all but the frames of sessions.
        """
        self.run_queue.counting += 1
        counting = True

        def end() -> None:
            nonlocal counting
            if counting:
                counting = False
                self.run_queue.counting -= 1

        return end

    def new_name(self) -> str:
        """Return a name for a child that was given none."""
        self._names += 1
        return str(self._names)

    def observes(self, kind: type[Event]) -> bool:
        """Return whether an event of this class has observers; else it need not be created."""
        return bool(self._observers.get(kind))

    def report(self, event: Event) -> None:
        """Pass an event to all observers of its class."""
        for observer in self._observers.get(type(event), ()):
            try:
                observer(event)
            except BaseException as error:
                if not is_crash(error):
                    raise
                self._loop.call_exception_handler(
                    {"message": f"an observer failed on {event!r}", "exception": error}
                )

    def report_start(self, cell: Cell[N]) -> None:
        """Report that an actor is ready, if anybody observes that."""
        if restarts := cell.restarts:
            if self.observes(Restarted):
                self.report(Restarted(cell.path, restarts))
        elif self.observes(Started):
            self.report(Started(cell.path))

    def fail(self, error: BaseException) -> None:
        """Record the error with which the root gave up, for `failed` to return."""
        self._failure.set_result(error)

    async def failed(self) -> BaseException:
        """Wait until the root gives up, and return why. In a healthy system this never returns."""
        return await asyncio.shield(self._failure)

    def spawn(
        self,
        factory: Callable[[], Actor[N]],
        *,
        name: str | None = None,
        lifecycle: Lifecycle = DEFAULT_LIFECYCLE,
    ) -> ActorRef[N]:
        """Start a child of the root without waiting for it; return its ref.

        Raises the same errors as `ActorContext.spawn`.
        """
        return self._root.spawn(factory, name, lifecycle).ref

    async def start(
        self,
        factory: Callable[[], Actor[N]],
        *,
        name: str | None = None,
        lifecycle: Lifecycle = DEFAULT_LIFECYCLE,
    ) -> ActorRef[N]:
        """Start a child of the root, wait until it is ready, and return its ref.

        Raises NameTaken, and StartFailed if it does not get ready.
        """
        cell = self._root.spawn(factory, name, lifecycle)
        await cell.ready()
        return cell.ref

    async def stop(self) -> None:
        """Stop all actors, the youngest child of the root first, and wait until they are gone."""
        if self._root.state is not State.STOPPED:
            self._root.stop(limit=float("inf"))
            await self._root.join()
        self.deadlines.close()
        await self.spare_tasks.close()
        if self._watch is not None:
            self._watch.stop()

    def statistics(self) -> "SystemStatistics":
        """Return the statistics of what all actors share."""
        return SystemStatistics(
            self.run_queue.statistics(),
            self.deadlines.statistics(),
            len(self.at_work),
            self.dead_letters,
        )

    @property
    def root(self) -> ActorView:
        """The view of the root, from which observers walk the tree in parts of their choice."""
        return ActorView(cast("Cell[object]", self._root))

    def snapshot(self) -> ActorSnapshot:
        """Return the whole tree as it is now. A large tree takes long: see `root`."""
        return _snapshot(cast("Cell[object]", self._root), self.clock.now())


def _snapshot(cell: "Cell[object]", now: float) -> ActorSnapshot:
    actor, children = cell.incarnation.actor, cell.children
    # An actor that runs as a plain function has only just begun: nothing else has run since.
    busy = cell.current is not None and cell.system.run_queue.running is not cell
    return ActorSnapshot(
        name=cell.name,
        type="" if actor is None else type(actor).__name__,
        state=cell.state.name.lower(),
        mailbox=len(cell.mailbox),
        capacity=cell.mailbox.capacity,
        message=cell.message_type,
        busy_for=now - cell.since if busy else 0.0,
        restarts=cell.restarts,
        tally=children.tally if children is not None else Tally(),
        children=tuple(_snapshot(child, now) for child in children.members.values())
        if children is not None
        else (),
    )
