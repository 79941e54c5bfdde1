"""Find actors that wait for each other in a cycle, before the last of them begins to wait.

An actor waits in its own task, and for one other actor at a time. The waits therefore form a path,
which is walked before a wait is added to it. Asks made in tasks that a handler has started are not
seen: their actor goes on meanwhile, so they need not be a cycle. They end at their timeout.
"""

import asyncio
from typing import TYPE_CHECKING, Never, cast

if TYPE_CHECKING:
    from actors.runtime.ask import Asked
    from actors.runtime.cell import Cell
    from actors.runtime.system import ActorSystem


class Waiting:
    """A wait for `target`: for the answer to `asked`, or (None) for room in its mailbox."""

    __slots__ = ("asked", "target")

    def __init__(self, target: "Cell[Never]", asked: "Asked | None") -> None:
        self.target: Cell[Never] = target
        self.asked: Asked | None = asked

    @property
    def holds(self) -> bool:
        """Return whether the target, while it waits itself, cannot end this wait.

        That is so while it handles the question, has not read it, or has no room for the message.
        """
        asked = self.asked
        return asked is None or not asked.opened or self.target.current is asked.message


def asker_of(system: "ActorSystem") -> "Cell[Never] | None":
    """Return the actor whose own task is running, or None in any other task or outside of one."""
    task = asyncio.current_task()
    return None if task is None else system.at_work.get(cast("asyncio.Task[None]", task))


def find_cycle(asker: "Cell[Never]", target: "Cell[Never]") -> str | None:
    """Return the paths along the cycle that arises if the asker waits for the target, or None."""
    cells, cell = [asker], target
    while cell is not asker:
        cells.append(cell)
        waiting = cell.system.waiting.get(cell)
        if waiting is None or not waiting.holds:
            return None
        cell = waiting.target
    return " -> ".join([each.path for each in (*cells, asker)])
