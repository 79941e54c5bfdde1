"""Actors that wait for each other in a circle, found before the last of them begins to wait.

An actor waits in its own task, for one other at a time: so who waits for whom is a path, and it is
walked when one more is about to be added. Questions asked in tasks that a handler has started are
not seen (their actor goes on meanwhile, so they need not be a circle): those end at their deadline.
"""

import asyncio
from typing import TYPE_CHECKING, Never, cast

if TYPE_CHECKING:
    from actors.runtime.ask import Asked
    from actors.runtime.cell import Cell
    from actors.runtime.system import ActorSystem


class Waiting:
    """An actor waits for `target`: for the answer to `asked`, or (None) for room in its mailbox."""

    __slots__ = ("asked", "target")

    def __init__(self, target: "Cell[Never]", asked: "Asked | None") -> None:
        self.target: Cell[Never] = target
        self.asked: Asked | None = asked

    @property
    def holds(self) -> bool:
        """The target cannot end the wait before its own: the question is unread, or in its hand."""
        asked = self.asked
        return asked is None or not asked.opened or self.target.current is asked.message


def asker_of(system: "ActorSystem") -> "Cell[Never] | None":
    """The actor whose task this is; None: it is nobody's, or a task that an actor has started."""
    task = asyncio.current_task()
    return None if task is None else system.at_work.get(cast("asyncio.Task[None]", task))


def find_cycle(asker: "Cell[Never]", target: "Cell[Never]") -> str | None:
    """The paths round the circle that closes if the asker waits for the target."""
    paths = [asker.path]
    cell = target
    while cell is not asker:
        paths.append(cell.path)
        waiting = cell.system.waiting.get(cell)
        if waiting is None or not waiting.holds:
            return None
        cell = waiting.target
    return " -> ".join([*paths, asker.path])
