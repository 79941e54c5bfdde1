"""What one writes: an actor, with its hooks and its context.

An actor is an object that handles one message at a time. It has no task while it has nothing to
do: the first message starts one that drains the mailbox and ends (3 times the throughput of a task
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

    A hook may be a plain function or a coroutine function. One that raises crashes the actor, and
    its supervisor decides. A restart makes a new object by the same factory: the ref, the mailbox
    and its order stay, the message that crashed the actor is gone.
    """

    supervision: ClassVar[Supervision] = Supervision()
    """How this actor looks after its children."""

    context: "ActorContext[M_contra]"
    """Set by the runtime before any hook runs."""

    def started(self) -> Awaitable[None] | None:
        """Get ready: no message is handled before this has ended. OTP's `init`."""
        return None

    def main(self) -> Awaitable[None] | None:
        """Do an errand of one's own, after `started` and before any message.

        What arrives meanwhile waits in the mailbox; `context.next()` takes it. (OTP:
        `handle_continue`)
        """
        return None

    @abstractmethod
    def receive(self, message: M_contra) -> Awaitable[None] | None:
        """Handle one message."""

    def down(self, down: "Down") -> Awaitable[None] | None:
        """Learn that an actor watched by `context.watch` is no more. Overtakes messages."""
        return None

    def child_ended(self, down: "Down") -> None:
        """Learn that a child is no more and will not be restarted. A plain function, at once."""

    def bind(self, cell: "Cell[M_contra]") -> None:
        """Take the context. Called by the runtime, before any hook."""
        self.context = ActorContext(cell)

    def stopped(self) -> Awaitable[None] | None:
        """Clean up, after the last message and after all children have ended.

        Runs once for each incarnation whose `started` has ended well: on a normal end, on a stop
        and after a crash; not when the actor is killed. (OTP: `terminate`)
        """
        return None


class ActorContext(Generic[M]):
    """What the runtime does for one actor. Belongs to it; of no use to others."""

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
        """The system that the actor lives in."""
        return self._cell.system

    @property
    def clock(self) -> "Clock":
        """The system's time."""
        return self._cell.system.clock

    def spawn(
        self,
        factory: "Callable[[], Actor[N]]",
        *,
        name: str | None = None,
        lifecycle: Lifecycle = DEFAULT_LIFECYCLE,
    ) -> "ActorRef[N]":
        """Start a child and go on; messages to it wait until it is ready.

        Raises StartFailed if the factory does, and NameTaken. If `started` raises, the child ends
        as crashed and is not restarted.
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
        """Make a child of what runs already in this task: see `Cell.adopt`."""
        return self._cell.adopt(actor, factory, name, lifecycle, task)

    @property
    def tally(self) -> Tally:
        """What the children did since the actor was first started; the counters themselves."""
        return self._cell.open_children().tally

    async def start(
        self,
        factory: "Callable[[], Actor[N]]",
        *,
        name: str | None = None,
        lifecycle: Lifecycle = DEFAULT_LIFECYCLE,
    ) -> "ActorRef[N]":
        """Start a child and wait until it is ready. Raises StartFailed if it does not get there."""
        cell = self._cell.spawn(factory, name, lifecycle)
        await cell.ready()
        return cell.ref

    async def next(self) -> M:
        """Take the next message from the own mailbox, inside a hook (Erlang's nested `receive`).

        Controls (a down, a stop) do not come this way. A stop ends the wait with CancelledError,
        and so does GivenUp, as itself, when a child has spent the intensity.
        """
        return await self._cell.take_next()

    def after(self, delay: float, message: M) -> Callable[[], None]:
        """Tell oneself `message` in `delay` seconds; the result takes it back.

        A timer dies with the incarnation that set it.
        """
        return self._cell.tell_after(delay, message)

    def watch(self, ref: "ActorRef[N]") -> Callable[[], None]:
        """Have `down` called when that actor is no more; at once if it is already so.

        The result ends the watch.
        """
        return self._cell.watch_other(ref)

    def stop(self) -> None:
        """End normally, after the message in hand. A permanent actor is then started again."""
        self._cell.finish()


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """A child that a `Supervisor` starts: its name, what makes it, how it lives."""

    name: str
    factory: Callable[[], Actor[Never]]
    lifecycle: Lifecycle = DEFAULT_LIFECYCLE


class Supervisor(Actor[Never]):
    """An actor that only looks after children: starts them in order, stops them in reverse.

    If one does not start, those before it are stopped again and the supervisor has not started.
    """

    def __init__(self, *children: ChildSpec) -> None:
        self._children = children

    async def started(self) -> None:
        """Start the children, each when the one before it is ready."""
        for spec in self._children:
            await self.context.start(spec.factory, name=spec.name, lifecycle=spec.lifecycle)

    def receive(self, message: Never) -> None:
        """Nothing: a supervisor has no messages."""
