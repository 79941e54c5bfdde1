"""The actor system: a root, a clock, one observer, and a view of the whole."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Never, TypeVar, cast

from actors.runtime.actor import Actor
from actors.runtime.cell import Cell
from actors.runtime.clock import Clock, LoopClock
from actors.runtime.crashes import is_crash
from actors.runtime.cycles import Waiting
from actors.runtime.deadlines import Deadlines, DeadlineStatistics
from actors.runtime.events import Event, Observer
from actors.runtime.loopwatch import LoopWatch
from actors.runtime.ref import ActorRef
from actors.runtime.runqueue import RunQueue, RunQueueStatistics
from actors.runtime.states import State
from actors.runtime.supervision import DEFAULT_LIFECYCLE, Lifecycle, Tally

N = TypeVar("N")


@dataclass(frozen=True, slots=True)
class ActorSnapshot:
    """One actor at one moment, and its children."""

    name: str
    type: str
    state: str
    mailbox: int
    capacity: int
    message: str
    """Type of the message in hand; empty when there is none."""
    busy_for: float
    """Seconds since that message was taken; 0 when there is none."""
    restarts: int
    tally: Tally
    """What its children did since it was first started."""
    children: tuple["ActorSnapshot", ...] = field(default=())


@dataclass(frozen=True, slots=True)
class SystemStatistics:
    """What the actors of a system share, at one moment."""

    run_queue: RunQueueStatistics
    deadlines: DeadlineStatistics
    tasks: int
    """Actors that wait for something in a message: each has a task."""
    dead_letters: int


class Root(Actor[Never]):
    """The first supervisor. If it must give up, the system has failed."""

    def receive(self, message: Never) -> None:
        """Nothing: the root has no messages."""


class ActorSystem:
    """A tree of actors on the running event loop.

    clock, random: where the runtime has time and jitter from. observer: the first to `subscribe`.
    kill_grace: seconds that a cancelled actor has to end before it is reported as stuck and left
    behind. blocked_after: seconds of the real clock after which an actor that holds up the event
    loop is reported; None: nobody looks. run_queue: who decides whose turn it is (for tests).
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
        self.random = random if random is not None else Random()
        self.observed: bool = False
        """Somebody listens: only then are events made."""
        self._observers: tuple[Observer, ...] = ()
        if observer is not None:
            self.subscribe(observer)
        self.kill_grace: float = kill_grace
        self.deadlines = Deadlines(self.clock)
        self.run_queue = run_queue if run_queue is not None else RunQueue()
        self.at_work: dict[asyncio.Task[None], Cell[Never]] = {}
        self.waiting: dict[Cell[Never], Waiting] = {}
        """Who waits for whom, of the actors that wait for another."""
        self.dead_letters: int = 0
        self._names = 0
        self._failure: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self._root: Cell[Never] = Cell(self, None, name, Root, DEFAULT_LIFECYCLE)
        self._root.launch()
        self._watch = None if blocked_after is None else LoopWatch(self, blocked_after)
        if self._watch is not None:
            self._watch.start()

    def subscribe(self, observer: Observer) -> Callable[[], None]:
        """Have every event from now on, at once and on the loop; the result ends it.

        What the observer raises goes to the loop's exception handler, and hurts nobody else.
        """
        entry: Observer = lambda event: observer(event)  # noqa: E731 - one may subscribe twice
        self._observers = (*self._observers, entry)
        self.observed = True

        def end() -> None:
            self._observers = tuple(other for other in self._observers if other is not entry)
            self.observed = bool(self._observers)

        return end

    def new_name(self) -> str:
        """A name for a child that was given none."""
        self._names += 1
        return str(self._names)

    def report(self, event: Event) -> None:
        """Hand an event to all who have subscribed."""
        for observer in self._observers:
            try:
                observer(event)
            except BaseException as error:
                if not is_crash(error):
                    raise
                self._loop.call_exception_handler(
                    {"message": f"an observer failed on {event!r}", "exception": error}
                )

    def fail(self, error: BaseException) -> None:
        """The root gave up: the system is ending, and `failed` says with what."""
        self._failure.set_result(error)

    async def failed(self) -> BaseException:
        """Wait until the root has given up, which a healthy system never does."""
        return await asyncio.shield(self._failure)

    def spawn(
        self,
        factory: Callable[[], Actor[N]],
        *,
        name: str | None = None,
        lifecycle: Lifecycle = DEFAULT_LIFECYCLE,
    ) -> ActorRef[N]:
        """Start a child of the root and go on. Raises as `ActorContext.spawn`."""
        return self._root.spawn(factory, name, lifecycle).ref

    async def start(
        self,
        factory: Callable[[], Actor[N]],
        *,
        name: str | None = None,
        lifecycle: Lifecycle = DEFAULT_LIFECYCLE,
    ) -> ActorRef[N]:
        """Start a child of the root and wait until it is ready. Raises StartFailed."""
        cell = self._root.spawn(factory, name, lifecycle)
        await cell.ready()
        return cell.ref

    async def stop(self) -> None:
        """Stop all actors, the youngest child of the root first, and wait until they are gone."""
        if self._root.state is not State.STOPPED:
            self._root.stop(limit=float("inf"))
            await self._root.join()
        self.deadlines.close()
        if self._watch is not None:
            self._watch.stop()

    def statistics(self) -> "SystemStatistics":
        """The primitives that all actors share."""
        return SystemStatistics(
            self.run_queue.statistics(),
            self.deadlines.statistics(),
            len(self.at_work),
            self.dead_letters,
        )

    def snapshot(self) -> ActorSnapshot:
        """The whole tree as it is now."""
        return _snapshot(cast("Cell[object]", self._root), self.clock.now())


def _snapshot(cell: "Cell[object]", now: float) -> ActorSnapshot:
    actor, children = cell.incarnation.actor, cell.children
    # In the middle of a plain function it has only begun: nothing else has run since.
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
