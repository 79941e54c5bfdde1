"""Named actors: one for each key, started by the first message to it and passivated when idle.

A directory supervises the actors of one type. `NamedRef` asks it for the cell of a key each time:

    no cell ──message──▶ starting ──▶ running ──idle, or room is needed──▶ stopping ──▶ no cell
                            └─ rejected by `started` ─▶ no cell

A message to a key whose actor is stopping waits in the mailbox of the next cell, which starts when
that one has ended. A cell whose task ignores its cancellation blocks its key until the task ends,
so two incarnations of a key never run at once.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING, Final, Generic, Never, TypeVar, cast

from actors.errors import Rejected
from actors.protocol.failure import Code, Failure
from actors.requests.named_cell import NamedCell
from actors.requests.named_ref import NamedRef
from actors.runtime.actor import Actor
from actors.runtime.states import RUNNING
from actors.runtime.supervision import (
    Backoff,
    Down,
    Exit,
    Intensity,
    Lifecycle,
    Order,
    Restart,
    Supervision,
)

if TYPE_CHECKING:
    import asyncio

    from actors.runtime.cell import Cell

M = TypeVar("M")

INTENSITY: Final = Intensity(restarts=5, period=60.0)
"""The restart intensity of a named actor whose lifecycle sets none."""

NAMED: Final = Lifecycle(
    restart=Restart.TRANSIENT,
    backoff=Backoff(initial=0.1, maximum=30.0),
    intensity=INTENSITY,
)
"""The default lifecycle of a named actor. Its intensity is its own."""

PAUSE: Final = Backoff(initial=1.0, maximum=300.0)
"""How long a key is unavailable once its actor has crashed too often."""


class Pause:
    """The pause of a key: it takes no messages until `until`. number: how many came before."""

    __slots__ = ("number", "until")

    def __init__(self, number: int, until: float) -> None:
        self.number: int = number
        self.until: float = until


class Directory(Actor[Never], Generic[M]):
    """The supervisor of all named actors of one type.

    This object outlives its own restarts, so a task that was left behind keeps blocking its key.
    """

    supervision = Supervision(order=Order.TOGETHER)

    def __init__(
        self,
        kind: type[Actor[M]],
        factory: Callable[[str], Actor[M]],
        at_most: int,
        idle: float,
        lifecycle: Lifecycle,
    ) -> None:
        if at_most < 1:
            raise ValueError("at_most is at least 1")
        if idle <= 0:
            raise ValueError("idle is more than 0 seconds")
        if lifecycle.intensity is None:
            lifecycle = replace(lifecycle, intensity=INTENSITY)
        self.kind: type[Actor[M]] = kind
        self.lifecycle: Lifecycle = lifecycle
        self._factory = factory
        self._at_most = at_most
        self._idle = idle
        self._cell: Cell[Never] | None = None
        self._cells: OrderedDict[str, NamedCell[M]] = OrderedDict()
        """The cells that take messages, the one that has been idle longest first."""
        self._slots = 0
        self._pauses: dict[str, Pause] = {}
        self._stuck: set[str] = set()
        self._sweeping = False
        """Whether the one timer, which calls `_sweep`, is set."""

    def bind(self, cell: "Cell[Never]") -> None:
        """Keep the directory's own cell, to add children and timers to it."""
        super().bind(cell)
        self._cell = cell
        self._sweeping = False

    def receive(self, message: Never) -> None:
        """Do nothing: a supervisor has no messages."""

    # -- for refs ----------------------------------------------------------------------------

    @property
    def path(self) -> str:
        """The path of the directory; the name of the type before it has been started."""
        return self.kind.__name__ if self._cell is None else self._cell.path

    def ref(self, key: str) -> NamedRef[M]:
        """Return the address of a key. This starts nothing."""
        return NamedRef(self, key)

    def cell(self, key: str) -> NamedCell[M]:
        """Return the cell that takes messages for the key, starting it if there is none.

        Raises Failure with UNAVAILABLE or RESOURCE_EXHAUSTED, both retryable.
        """
        cell = self._cells.get(key)
        if cell is not None:
            if cell.alive:
                self.touch(cell)
                return cell
            self._forget(cell)
        own = self._open(key)
        self._check_room()
        siblings = own.open_children()
        cell = self._cells[key] = NamedCell(self, siblings, key)
        cell.used = own.system.clock.now()
        if key in siblings.members:
            cell.waits = True
        else:
            cell.begin()
        self._set_timer(self._idle)
        return cell

    def find(self, key: str) -> "Cell[M] | None":
        """Return the key's cell, which may be stopping; None if there is none."""
        return next(self.cells(key), None)

    def cells(self, key: str) -> "Iterator[Cell[M]]":
        """Yield the key's cells: the one that takes messages, and the one that is stopping."""
        current = self._cells.get(key)
        if current is not None:
            yield current
        children = None if self._cell is None else self._cell.children
        child = None if children is None else children.members.get(key)
        if child is not None and child is not current:
            yield cast("Cell[M]", child)

    def make(self, key: str) -> Actor[M]:
        """Make an incarnation. Raises TypeError if the factory makes something else."""
        actor = self._factory(key)
        if not isinstance(actor, self.kind):
            raise TypeError(f"{self.path} is of {self.kind.__name__}, not {type(actor).__name__}")
        return actor

    # -- availability ------------------------------------------------------------------------

    def _open(self, key: str) -> "Cell[Never]":
        """Return the directory's own cell if the key may have an actor. Raises Failure."""
        own, pause = self._cell, self._pauses.get(key)
        if own is None or own.state is not RUNNING:
            raise self._unavailable("its directory is not running")
        if key in self._stuck:
            raise self._unavailable("its predecessor has not ended")
        left = 0.0 if pause is None else pause.until - own.system.clock.now()
        if left > 0:
            raise self._unavailable("it crashed too often", left)
        return own

    def _unavailable(self, reason: str, seconds: float = 0.0) -> Failure:
        return Failure(
            Code.UNAVAILABLE,
            f"the {self.kind.__name__} is unavailable: {reason}",
            retryable=True,
            retry_after_ms=ceil(seconds * 1000),
        )

    def _exhausted(self) -> Failure:
        name = self.kind.__name__
        return Failure(Code.RESOURCE_EXHAUSTED, f"too many {name} actors are busy", retryable=True)

    def give_up(self, key: str) -> Failure:
        """Begin a pause of the key, longer than the one before; return what askers get."""
        assert self._cell is not None  # a child of it has ended
        system = self._cell.system
        now = system.clock.now()
        # One that was tried again without success is remembered, but not forever.
        self._pauses = {
            other: pause
            for other, pause in self._pauses.items()
            if pause.until + PAUSE.maximum > now
        }
        before = self._pauses.get(key)
        number = 0 if before is None else before.number + 1
        seconds = PAUSE.pause(number, system.random)
        self._pauses[key] = Pause(number, now + seconds)
        return self._unavailable("it crashed too often", seconds)

    def note_stuck(self, key: str, task: "asyncio.Task[None]") -> None:
        """Make the key unavailable until this task, which ignored its cancellation, has ended."""
        self._stuck.add(key)
        task.add_done_callback(lambda _: self._stuck.discard(key))

    # -- room --------------------------------------------------------------------------------

    def _check_room(self) -> None:
        """Raise Failure if another actor could not get a slot.

        An actor gets its slot, and the one that has been idle longest makes room, only when
        `started` has accepted the key. Unknown keys therefore end no other actor.
        """
        starting = len(self._cells) - self._slots
        full = len(self._cells) >= self._at_most
        if starting >= self._at_most or (full and self._idle_longest() is None):
            raise self._exhausted()

    def _idle_longest(self) -> NamedCell[M] | None:
        return next((cell for cell in self._cells.values() if cell.at_rest), None)

    def take_slot(self, cell: NamedCell[M]) -> None:
        """Count an actor that is ready for the first time, and make room for it.

        If all others have become busy since it began to start, it is stopped instead.
        """
        cell.has_slot = True
        self._slots += 1
        if self._slots > self._at_most:
            idle = self._idle_longest()
            if idle is None:
                self._refuse(cell, self._exhausted())
            else:
                self._passivate(idle)

    # -- the end of an actor -----------------------------------------------------------------

    def touch(self, cell: NamedCell[M]) -> None:
        """Note that an actor is in use now."""
        if self._cells.get(cell.name) is cell:
            cell.used = cell.system.clock.now()
            self._cells.move_to_end(cell.name)

    def _set_timer(self, seconds: float) -> None:
        if not self._sweeping and seconds < float("inf"):
            assert self._cell is not None  # it has children
            self._sweeping = True
            self._cell.incarnation.call_later(self._cell.system.clock, seconds, self._sweep)

    def _sweep(self) -> None:
        """Passivate those that have been idle for long enough, and set the timer for the next."""
        self._sweeping = False
        while self._cells:
            cell = next(iter(self._cells.values()))
            left = cell.used + self._idle - cell.system.clock.now()
            if left > 0:
                self._set_timer(left)
                return
            if cell.at_rest:
                self._passivate(cell)
            else:
                self.touch(cell)

    def _passivate(self, cell: NamedCell[M]) -> None:
        """Remove and stop an actor that is at rest: in one step, so that no message is lost."""
        self._forget(cell)
        cell.stop()

    def _refuse(self, cell: NamedCell[M], failure: Failure) -> None:
        """Stop an actor; the questions that wait for it are answered with `failure`."""
        cell.refused = failure
        self._forget(cell)
        cell.stop()

    def _forget(self, cell: NamedCell[M]) -> None:
        del self._cells[cell.name]
        if cell.has_slot:
            self._slots -= 1

    def child_ended(self, down: Down) -> None:
        """Start the next actor of the key if messages wait for it."""
        key = down.name
        if down.exit is not Exit.CRASHED and not isinstance(down.error, Rejected):
            self._pauses.pop(key, None)
        cell = self._cells.get(key)
        if cell is None:
            return
        if not cell.waits:
            self._forget(cell)
        elif cell.alive:
            try:
                self._open(key)
            except Failure as failure:
                self._refuse(cell, failure)
            else:
                cell.begin()
        else:
            self._forget(cell)
