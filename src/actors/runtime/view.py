"""What anybody may see of an actor: for observers that walk the tree, such as a board."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from actors.runtime.actor import Actor
from actors.runtime.crashes import is_crash
from actors.runtime.mailbox import NOTHING
from actors.runtime.states import PAUSED, RUNNING
from actors.runtime.supervision import Tally

if TYPE_CHECKING:
    from actors.runtime.cell import Cell


class ActorView:
    """One actor as it is at the moment of asking. Nothing is copied, and asking has no effect.

    `ActorSystem.root` is the view of the root. A large tree is best walked in parts, with a turn of
    the loop after some hundred actors. An actor may end meanwhile; its view then shows how it was
    last. Do not keep a view: it keeps the actor's memory.
    """

    __slots__ = ("_cell",)

    def __init__(self, cell: "Cell[object]") -> None:
        self._cell = cell

    @property
    def name(self) -> str:
        """Its name, which no sibling shares."""
        return self._cell.name

    @property
    def path(self) -> str:
        """The names from the root to it, joined by `/`."""
        return self._cell.path

    @property
    def kind(self) -> type[Actor[object]] | None:
        """Its class; None while it has no object, as between a crash and the restart."""
        actor = self._cell.incarnation.actor
        return None if actor is None else type(actor)

    @property
    def state(self) -> str:
        """One of starting, running, paused (until its restart), stopping and stopped."""
        return self._cell.state.name.lower()

    @property
    def running(self) -> bool:
        """Whether its state is running."""
        return self._cell.state is RUNNING

    @property
    def restarting(self) -> bool:
        """Whether its state is paused: it is started again soon."""
        return self._cell.state is PAUSED

    @property
    def busy(self) -> bool:
        """Whether it has something to do, or waits in a hook for anything but a message."""
        cell = self._cell
        return cell.busy and cell.incarnation.wake is None

    @property
    def mailbox(self) -> int:
        """How many messages wait in its mailbox."""
        mailbox = self._cell.mailbox  # Mailbox.__len__ inlined
        return len(mailbox.queue) if mailbox.first is NOTHING else 1

    @property
    def capacity(self) -> int:
        """How many messages may wait in its mailbox."""
        return self._cell.mailbox.capacity

    @property
    def handled(self) -> int:
        """How many messages it has handled while they were counted (`count_messages`)."""
        return self._cell.handled

    @property
    def message(self) -> str:
        """Type of the message being handled; empty if there is none."""
        return self._cell.message_type

    @property
    def busy_for(self) -> float:
        """Seconds for which that message has been handled; 0 if there is none."""
        cell = self._cell
        # An actor that runs as a plain function has only just begun: nothing else has run since.
        if cell.current is None or cell.system.run_queue.running is cell:
            return 0.0
        return cell.system.clock.now() - cell.since

    @property
    def up_for(self) -> float:
        """Seconds since it last became ready; 0 if it is not."""
        return self._cell.incarnation.ran_for(self._cell.system.clock.now())

    @property
    def restarts(self) -> int:
        """How often it has been restarted."""
        record = self._cell.record
        return 0 if record is None else record.restarts

    @property
    def tally(self) -> Tally:
        """Counts of its children's starts, ends and restarts: the live object, or an empty one."""
        children = self._cell.children
        return Tally() if children is None else children.tally

    @property
    def details(self) -> object:
        """What `Actor.describe` returns now; None if it raises, or if the actor does not run."""
        actor = self._cell.incarnation.actor
        if actor is None or self._cell.state is not RUNNING:
            return None
        if type(actor).describe is Actor.describe:
            return None
        try:
            return actor.describe()
        except BaseException as error:
            if not is_crash(error):
                raise
            return None

    @property
    def child_count(self) -> int:
        """How many children it has."""
        children = self._cell.children
        return 0 if children is None else len(children.members)

    def children(self) -> Iterator["ActorView"]:
        """Yield the children that it has now, in order of their start, unless they end first."""
        children = self._cell.children
        for child in () if children is None else tuple(children.members.values()):
            if child.down is None:
                yield ActorView(child)

    def parts(self, size: int) -> Iterator["Part"]:
        """Yield the children that it has now in parts of `size`, those at rest only counted.

        For an actor that has thousands: this takes a tenth of the time that `children` takes.
        """
        children = self._cell.children
        cells = () if children is None else tuple(children.members.values())
        for start in range(0, len(cells), size):
            yield Part(cells[start : start + size])

    def child(self, name: str) -> "ActorView | None":
        """Return the child of this name; None if there is none."""
        children = self._cell.children
        found = None if children is None else children.members.get(name)
        return None if found is None else ActorView(found)


class Resting:
    """Siblings of one class that are at rest. handled: by all of them, as in `ActorView`."""

    __slots__ = ("actors", "handled")

    def __init__(self) -> None:
        self.actors: int = 0
        self.handled: int = 0


class Part:
    """Some children of one actor.

    resting: those that run, have nothing to do and no child, were never restarted, and do not
    describe themselves; by class. views: all others.
    """

    __slots__ = ("resting", "views")

    def __init__(self, cells: "Sequence[Cell[object]]") -> None:
        views: list[ActorView] = []
        resting: dict[type[Actor[object]], Resting] = {}
        self.views: list[ActorView] = views
        self.resting: dict[type[Actor[object]], Resting] = resting
        for cell in cells:
            if cell.state is RUNNING and not cell.busy and cell.record is None:
                actor, children = cell.incarnation.actor, cell.children
                assert actor is not None
                kind = type(actor)
                if kind.describe is Actor.describe and not (children and children.members):
                    rest = resting.get(kind)
                    if rest is None:
                        rest = resting[kind] = Resting()
                    rest.actors += 1
                    rest.handled += cell.handled
                    continue
            if cell.down is None:
                views.append(ActorView(cell))
