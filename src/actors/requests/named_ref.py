"""The address of a named actor, which stands for its key and starts the actor when it is used."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from actors.errors import Unavailable
from actors.protocol.failure import Failure
from actors.runtime.mailbox import MailboxStatistics
from actors.runtime.ref import ActorRef
from actors.runtime.supervision import Down, Exit

if TYPE_CHECKING:
    from actors.requests.named import Directory
    from actors.runtime.cell import Cell

M_contra = TypeVar("M_contra", contravariant=True)


class NamedRef(ActorRef[M_contra]):
    """The address of a key, valid whether or not its actor is alive. Refs to one key are equal.

    `ask` raises the Failure with which `started` rejects the key, or a retryable one if the actor
    cannot run now; `tell` and `send` raise Unavailable in the second case. `watch`, `join`, `stop`
    and the queries are about the actor as it is now, and start none.
    """

    __slots__ = ("_directory", "_key")

    def __init__(self, directory: "Directory[M_contra]", key: str) -> None:
        self._directory = directory
        self._key = key

    @property
    def _cell(self) -> "Cell[M_contra]":  # type: ignore[override]  # an attribute in the base
        """The actor's cell, which is started if there is none. Raises Failure."""
        return self._directory.cell(self._key)

    def _cell_for(self, message: M_contra) -> "Cell[M_contra]":
        try:
            return self._directory.cell(self._key)
        except Failure as failure:
            raise Unavailable(self.path, message) from failure

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, NamedRef)
            and other._directory is self._directory
            and other._key == self._key
        )

    def __hash__(self) -> int:
        return hash((id(self._directory), self._key))

    def __repr__(self) -> str:
        return f"<NamedRef {self.path}>"

    @property
    def path(self) -> str:
        """The names from the root to the actor, joined by `/`; the last is the key."""
        return f"{self._directory.path}/{self._key}"

    @property
    def alive(self) -> bool:
        """Return whether the actor has been started and takes messages."""
        cell = self._directory.find(self._key)
        return cell is not None and cell.alive

    @property
    def state(self) -> str:
        """The actor's state: starting, running, paused, stopping, or stopped if there is none."""
        cell = self._directory.find(self._key)
        return "stopped" if cell is None else cell.state.name.lower()

    def tell(self, message: M_contra) -> None:
        """Put a message into the mailbox without waiting, as ActorRef's does.

        Raises Unavailable if the actor cannot run now, and MailboxFull.
        """
        self._cell_for(message).put(message)

    @property
    def tell_now(self) -> Callable[[M_contra], None]:
        """`tell`, but an idle actor handles the message before this returns, until it must wait."""
        return lambda message: self._cell_for(message).put_now(message)

    async def send(self, message: M_contra) -> None:
        """Send a message as `tell` does, but wait for room if the policy is WAIT.

        Raises Unavailable if the actor cannot run now, NotRunning if it ends while this waits, and
        MailboxFull as ActorRef's does.
        """
        await self._cell_for(message).put_waiting(message)

    def stop(self) -> None:
        """Tell the actor, if there is one, to stop after the current message.

        The next message to the key starts it again.
        """
        for cell in self._directory.cells(self._key):
            cell.stop()

    def kill(self) -> None:
        """Stop the actor, if there is one, by cancelling its task."""
        for cell in self._directory.cells(self._key):
            cell.stop(limit=0.0)

    def restart_never(self) -> None:
        """Make the actor that there is now, if any, temporary: a crash then ends it."""
        cell = self._directory.find(self._key)
        if cell is not None:
            ActorRef(cell).restart_never()

    async def join(self) -> Down:
        """Wait until the actor that there is now, if any, has ended, and return its Down."""
        cell = self._directory.find(self._key)
        return self._down() if cell is None else await cell.join()

    def statistics(self) -> MailboxStatistics:
        """Return the statistics of its mailbox, which is empty if there is no actor."""
        cell = self._directory.find(self._key)
        if cell is None:
            return MailboxStatistics(0, self._directory.lifecycle.capacity, 0, 0)
        return cell.mailbox.statistics()

    def watch(self, callback: Callable[[Down], None]) -> Callable[[], None]:
        """Call `callback` once when the actor that there is now ends, or at once if there is none.

        Passivation is an end, a restart is not. Returns a function that ends the watch.
        """
        cell = self._directory.find(self._key)
        if cell is None:
            callback(self._down())
            return lambda: None
        return cell.add_watcher(callback)

    def _down(self) -> Down:
        return Down(self.path, self._key, Exit.NORMAL)
