"""The cell of a named actor: what the runtime does differently for one.

A key has a cell only while its actor is alive. `actors.requests.named` makes and ends them.
"""

from functools import partial
from typing import TYPE_CHECKING, ClassVar, TypeVar

from actors.errors import Rejected
from actors.requests.named_ref import NamedRef
from actors.runtime.cell import Cell
from actors.runtime.states import RUNNING

if TYPE_CHECKING:
    from actors.protocol.failure import Failure
    from actors.requests.named import Directory
    from actors.runtime.children import Children
    from actors.runtime.ref import ActorRef

M = TypeVar("M")


class NamedCell(Cell[M]):
    """One named actor, from the message that starts it to its end.

    waits: it takes messages, but starts only when its predecessor has ended. used: when it was last
    sent a message, or last seen in use. has_slot: it has been ready, so it counts against
    `at_most`. refused: what its askers get instead of AskDropped when it is ended.
    """

    __slots__ = ("directory", "has_slot", "refused", "used", "waits")

    retries_start: ClassVar[bool] = True

    def __init__(self, directory: "Directory[M]", siblings: "Children", key: str) -> None:
        super().__init__(
            siblings.parent.system, siblings, key, partial(directory.make, key), directory.lifecycle
        )
        self.directory: Directory[M] = directory
        self.waits: bool = False
        self.used: float = 0.0
        self.has_slot: bool = False
        self.refused: Failure | None = None
        self.busy = True  # messages wait in the queue until `begin`

    @property
    def ref(self) -> "ActorRef[M]":
        """The address of the key, which outlives this cell."""
        return NamedRef(self.directory, self.name)

    @property
    def parent(self) -> "Cell[object] | None":
        """The directory's cell; None before the start, since it is not yet a child."""
        return None if self.waits else super().parent

    @property
    def at_rest(self) -> bool:
        """Return whether it may be passivated: it has nothing to do and nothing keeps it."""
        return (
            not self.busy
            and self.state is RUNNING
            and not (self.children and self.children.members)
            and not self.incarnation.in_use
        )

    def begin(self) -> None:
        """Become a child of the directory and start, in a task: a factory that raises crashes."""
        self.waits = False
        assert self.siblings is not None  # given to `__init__`
        self.siblings.add(self)
        self.schedule()

    def set_running(self) -> None:
        """Enter RUNNING, and take a slot the first time."""
        super().set_running()
        if self.alive and not self.has_slot:
            self.directory.take_slot(self)

    def put(self, message: M) -> None:
        """Take a message that nobody waits for, such as that of the actor's own timer."""
        self.directory.touch(self)
        super().put(message)

    def refusal(self, error: BaseException | None) -> Exception | None:
        """Return the error for askers in the mailbox; begin a pause if a crash ends the actor."""
        if self.refused is not None:
            return self.refused
        if error is None or isinstance(error, Rejected):
            return super().refusal(error)
        return self.directory.give_up(self.name)

    def abandon(self) -> None:
        """Tell the directory which task has not ended, and end the actor without it."""
        assert self.task is not None  # it ignored its cancellation
        self.directory.note_stuck(self.name, self.task)
        super().abandon()
