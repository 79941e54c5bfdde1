"""The base class of actors, with its hooks and its context.

An actor is an object that handles one message at a time. It has a task only while one of its hooks
waits: an idle actor has none, and plain functions run without one (3 times the throughput of a task
that waits on an `asyncio.Queue`, and a twentieth of its memory).
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Generic, Never, TypeVar

from actors.runtime.supervision import DEFAULT_LIFECYCLE, Lifecycle, Supervision, Tally

if TYPE_CHECKING:
    import asyncio

    from actors.runtime.cell import Cell
    from actors.runtime.clock import Clock
    from actors.runtime.ref import ActorRef
    from actors.runtime.supervision import Down
    from actors.runtime.system import ActorSystem

M = TypeVar("M")
M_contra = TypeVar("M_contra", contravariant=True)
N = TypeVar("N")


class Actor(ABC, Generic[M_contra]):
    """An actor that handles messages of type M, one at a time.

    A hook may be a plain function or a coroutine function. If it raises, the actor crashes and its
    supervisor decides what follows. A restart makes a new object with the same factory; the ref,
    the mailbox and its order are kept, but the message that crashed the actor is gone.
    """

    supervision: ClassVar[Supervision] = Supervision()
    """How this actor supervises its children."""

    context: "ActorContext[M_contra]"
    """Set by the runtime before any hook runs."""

    def started(self) -> Awaitable[None] | None:
        """Initialize the actor; no message is handled before this has ended (OTP: `init`).

        May raise Rejected, which ends the actor without a crash.
        """
        return None

    def main(self) -> Awaitable[None] | None:
        """Do the actor's own work, after `started` and before any message is handled.

        Messages that arrive meanwhile wait in the mailbox; `context.next()` takes them. (OTP:
        `handle_continue`)
        """
        return None

    @abstractmethod
    def receive(self, message: M_contra) -> Awaitable[None] | None:
        """Handle one message."""

    def down(self, down: "Down") -> Awaitable[None] | None:
        """Handle the end of an actor watched with `context.watch`. Runs before waiting messages."""
        return None

    def child_ended(self, down: "Down") -> None:
        """Handle the end of a child that is not restarted. A plain function, called at once."""

    def describe(self) -> object:
        """Return what observers may know of this actor now (`ActorView.details`); None: nothing.

        Best an immutable object, such as a frozen dataclass, whose `str` tells a person something.
        A plain function that is quick and changes nothing; it is called while the actor runs, also
        in the middle of a handler that waits. The board shows the result to everybody who has the
        service's token: counts and states, but no contents of messages. (OTP: `format_status`)
        """
        return None

    def bind(self, cell: "Cell[M_contra]") -> None:
        """Set the context. Called by the runtime before any hook."""
        self.context = ActorContext(cell)

    def stopped(self) -> Awaitable[None] | None:
        """Clean up, after the last message and after all children have ended.

        Runs once for each incarnation whose `started` has succeeded: on a normal end, on a stop, on
        a group restart and after a crash, but not when the actor is killed. (OTP: `terminate`)
        """
        return None


class ActorContext(Generic[M]):
    """What the runtime offers to one actor. Only that actor may use it."""

    __slots__ = ("_cell",)

    def __init__(self, cell: "Cell[M]") -> None:
        self._cell = cell

    @property
    def ref(self) -> "ActorRef[M]":
        """The actor's own address."""
        return self._cell.ref

    @property
    def path(self) -> str:
        """The names from the root to this actor, joined by `/`."""
        return self._cell.path

    @property
    def system(self) -> "ActorSystem":
        """The system that the actor belongs to."""
        return self._cell.system

    @property
    def clock(self) -> "Clock":
        """The system's clock."""
        return self._cell.system.clock

    def spawn(
        self,
        factory: "Callable[[], Actor[N]]",
        *,
        name: str | None = None,
        lifecycle: Lifecycle = DEFAULT_LIFECYCLE,
    ) -> "ActorRef[N]":
        """Start a child without waiting for it, and return its ref.

        Messages to the child wait until it is ready. Raises StartFailed if the factory raises or
        this actor is ending, and NameTaken. If `started` raises, the child ends as crashed and is
        not restarted.
        """
        return self._cell.spawn(factory, name, lifecycle).ref

    def adopt(
        self,
        actor: "Actor[N]",
        factory: "Callable[[], Actor[N]]",
        *,
        name: str,
        lifecycle: Lifecycle,
        task: "asyncio.Task[None]",
    ) -> "Cell[N]":
        """Make a child of an actor that already runs in `task`; see `Cell.adopt`."""
        return self._cell.adopt(actor, factory, name, lifecycle, task)

    @property
    def tally(self) -> Tally:
        """Counters of the children since the actor was first started: the live object, no copy."""
        return self._cell.open_children().tally

    async def start(
        self,
        factory: "Callable[[], Actor[N]]",
        *,
        name: str | None = None,
        lifecycle: Lifecycle = DEFAULT_LIFECYCLE,
    ) -> "ActorRef[N]":
        """Start a child, wait until it is ready, and return its ref.

        Raises NameTaken, and StartFailed if it does not get ready.
        """
        cell = self._cell.spawn(factory, name, lifecycle)
        await cell.ready()
        return cell.ref

    async def next(self) -> M:
        """Wait in a hook for the actor's next message, and return it (Erlang's nested `receive`).

        Controls (a down, a stop) are not returned. A stop or a group restart raises CancelledError
        here. A crash caused by a child is raised as itself: GivenUp when a child has exceeded the
        intensity, or what `child_ended` raised.
        """
        return await self._cell.take_next()

    def after(self, delay: float, message: M) -> Callable[[], None]:
        """Send `message` to this actor in `delay` seconds; return a function that cancels it.

        The timer is cancelled when the incarnation that set it ends.
        """
        return self._cell.tell_after(delay, message)

    def watch(self, ref: "ActorRef[N]") -> Callable[[], None]:
        """Have `down` called when that actor ends, or soon if it has ended already.

        Returns a function that ends the watch, even if `down` is due but has not run yet.
        """
        return self._cell.watch_other(ref)

    def hold(self) -> Callable[[], None]:
        """Keep this actor, if it is a named one, from being passivated while it is idle.

        Returns a function that releases the hold; further calls of it do nothing. The hold also
        ends with this incarnation. Other actors are never passivated.
        """
        return self._cell.incarnation.hold()

    def at_end(self, callback: Callable[[], None]) -> None:
        """Call `callback` when this incarnation ends, for whatever reason, also if it is killed.

        For what must not outlive it, such as an `EventLog`. A plain function that must not raise;
        it runs after `stopped`.
        """
        self._cell.incarnation.at_end(callback)

    def stop(self) -> None:
        """End normally after the current message. A permanent actor is then restarted."""
        self._cell.finish()


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """A child that a `Supervisor` starts: its name, its factory and its lifecycle."""

    name: str
    factory: Callable[[], Actor[Never]]
    lifecycle: Lifecycle = DEFAULT_LIFECYCLE


class Supervisor(Actor[Never]):
    """An actor that only supervises children: it starts them in order and stops them in reverse.

    If one does not start, those before it are stopped again and the supervisor does not start.
    """

    def __init__(self, *children: ChildSpec) -> None:
        self._children = children

    async def started(self) -> None:
        """Start the children in order, each when the one before it is ready."""
        for spec in self._children:
            await self.context.start(spec.factory, name=spec.name, lifecycle=spec.lifecycle)

    def receive(self, message: Never) -> None:
        """Do nothing: a supervisor has no messages."""
