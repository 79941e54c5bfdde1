"""The children of one actor: their table, their restarts, and the order in which they stop."""

from typing import TYPE_CHECKING, Final, TypeVar, cast

from actors.errors import NameTaken
from actors.runtime.group_restart import GroupRestart
from actors.runtime.supervision import Order, RestartWindow, Strategy, Supervision, Tally

if TYPE_CHECKING:
    from actors.runtime.cell import Cell

N = TypeVar("N")

ONE_FOR_ONE: Final = Strategy.ONE_FOR_ONE


class Children:
    """The child table of one actor, created on first use."""

    __slots__ = ("group_restart", "members", "parent", "tally", "window")

    def __init__(self, parent: "Cell[object]") -> None:
        self.parent: Cell[object] = parent
        self.members: dict[str, Cell[object]] = {}
        self.tally: Tally = Tally()
        self.window: RestartWindow = RestartWindow()
        self.group_restart: GroupRestart | None = None
        """The group restart in progress, if any."""

    def add(self, child: "Cell[N]") -> None:
        """Add a child under its name. Raises NameTaken."""
        if child.name in self.members:
            raise NameTaken(child.path)
        self.members[child.name] = cast("Cell[object]", child)
        self.tally.started += 1

    def path_of(self, name: str) -> str:
        """Return the path of a child: the names from the root, joined by `/`."""
        names, parent = [name], self.parent
        while parent.siblings is not None:
            names.append(parent.name)
            parent = parent.siblings.parent
        return "/".join([parent.name, *reversed(names)])

    def remove(self, name: str) -> None:
        """Remove a child that has ended."""
        del self.members[name]
        self.tally.stopped += 1
        self.news()

    def news(self) -> None:
        """Wake the group restart, if any: a child has changed its state."""
        if self.group_restart is not None:
            self.group_restart.news()

    @property
    def together(self) -> bool:
        """Return whether children are restarted as a group."""
        actor = self.parent.incarnation.actor
        return actor is not None and actor.supervision.strategy is not ONE_FOR_ONE

    def restart_group(self, child: "Cell[N]", delay: float) -> None:
        """Restart the child and those that its strategy includes, in `delay` seconds."""
        if self.group_restart is None:
            self.group_restart = GroupRestart(self)
        self.group_restart.add(cast("Cell[object]", child), delay)

    def forget_restarts(self) -> None:
        """Begin a new restart window: a restarted parent begins with no restarts counted."""
        self.window = RestartWindow()

    @property
    def supervision(self) -> Supervision:
        """The parent's supervision of its children."""
        actor = self.parent.incarnation.actor
        return Supervision() if actor is None else actor.supervision

    async def stop_all(self) -> None:
        """Stop all children in the order that supervision sets, and wait until they are gone."""
        if self.group_restart is not None:
            self.group_restart.cancel()
            self.group_restart = None
        children = list(self.members.values())
        children.reverse()
        if self.supervision.order is Order.TOGETHER:
            for child in children:
                child.stop()
        for child in children:
            child.stop()
            await child.join()
