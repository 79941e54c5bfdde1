"""The address of an actor, through which others use it. It stays valid across restarts."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Generic, Never, TypeVar, cast, overload

from actors.errors import AskCycle, AskTimeout
from actors.runtime.ask import Askable, Reply
from actors.runtime.cycles import Waiting, asker_of, find_cycle
from actors.runtime.mailbox import MailboxStatistics
from actors.runtime.supervision import Down, Restart

if TYPE_CHECKING:
    from actors.runtime.cell import Cell

M_contra = TypeVar("M_contra", contravariant=True)
R = TypeVar("R")


class ActorRef(Generic[M_contra]):
    """The address of an actor that takes messages of type M. Refs to one actor are equal."""

    __slots__ = ("_cell", "_mailbox")

    def __init__(self, cell: "Cell[M_contra]") -> None:
        self._cell = cell
        self._mailbox = cell.mailbox

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActorRef) and other._cell is self._cell

    def __hash__(self) -> int:
        return id(self._cell)

    def __repr__(self) -> str:
        return f"<ActorRef {self._cell.path}>"

    @property
    def path(self) -> str:
        """The names from the root to the actor, joined by `/`."""
        return self._cell.path

    @property
    def alive(self) -> bool:
        """Return whether the actor takes messages; it may be starting or about to restart."""
        return self._cell.alive

    @property
    def state(self) -> str:
        """The actor's state: starting, running, paused, stopping or stopped."""
        return self._cell.state.name.lower()

    def tell(self, message: M_contra) -> None:
        """Put a message into the mailbox without waiting.

        Messages from one sender are handled in the order in which they were sent. Raises
        MailboxFull if there is no room and the policy is WAIT or REFUSE. A message to an actor that
        is stopping or has ended becomes a dead letter.
        """
        mailbox = self._mailbox
        queue = mailbox.queue
        if len(queue) < mailbox.room:
            queue.append(message)
        else:
            self._cell.put(message)

    @property
    def tell_now(self) -> Callable[[M_contra], None]:
        """`tell`, but an idle actor handles the message before this returns, until it must wait.

        Order and one message at a time are guaranteed as for `tell`: earlier messages are handled
        first. For callbacks that the event loop calls directly and that hold no state half-changed.
        """
        return self._cell.put_now

    async def send(self, message: M_contra) -> None:
        """Send a message as `tell` does, but wait for room if the policy is WAIT.

        Raises NotRunning if the actor is stopping or has ended, and MailboxFull if the policy is
        REFUSE or if the wait would complete a cycle of actors that wait for each other.
        """
        await self._cell.put_waiting(message)

    @overload
    async def ask(self, question: Askable[M_contra, R], *, timeout: float) -> R: ...

    @overload
    async def ask(self, question: Callable[[Reply[R]], M_contra], *, timeout: float) -> R: ...

    async def ask(
        self,
        question: Askable[M_contra, R] | Callable[[Reply[R]], M_contra],
        *,
        timeout: float,
    ) -> R:
        """Send a question and return the answer: a `Question`, or what makes one from a Reply.

        Raises AskTimeout after `timeout` seconds (including the wait for room in the mailbox),
        AskCrashed as soon as the actor, having taken the message, crashes without an answer,
        AskDropped if it stops or its group is restarted first or the mailbox drops the message,
        NotRunning or MailboxFull if the mailbox does not take the message, and AskCycle if the
        actor waits for the asker.
        """
        cell = self._cell
        asker = asker_of(cell.system)
        if asker is not None:
            cycle = find_cycle(asker, cast("Cell[Never]", cell))
            if cycle is not None:
                raise AskCycle(cycle)
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        reply = Reply(future)
        deadline = cell.system.deadlines.add(
            timeout, lambda: reply.fail(AskTimeout(f"{cell.path}: no answer within {timeout} s"))
        )
        try:
            message = question(reply) if callable(question) else question.asked(reply)
            asked = cell.put_question(message, reply)
            if asker is not None:
                cell.system.waiting[asker] = Waiting(cast("Cell[Never]", cell), asked)
            try:
                return await future
            finally:
                cell.withdraw(asked)
                if asker is not None:
                    del cell.system.waiting[asker]
        finally:
            deadline.met()
            future.cancel()

    def stop(self) -> None:
        """Tell the actor to stop after the current message, its children first.

        The messages left in its mailbox become dead letters. It is cancelled after its shutdown
        limit.
        """
        self._cell.stop()

    def kill(self) -> None:
        """Stop the actor without waiting for the current message, by cancelling its task."""
        self._cell.stop(limit=0.0)

    def restart_never(self) -> None:
        """Make the actor temporary: a crash then ends it, so that its work is not repeated."""
        if self._cell.lifecycle.restart is Restart.TEMPORARY:
            return
        self._cell.lifecycle = replace(self._cell.lifecycle, restart=Restart.TEMPORARY)

    async def join(self) -> Down:
        """Wait until the actor has ended, and return its Down."""
        return await self._cell.join()

    def statistics(self) -> MailboxStatistics:
        """Return the statistics of its mailbox (after trio's `.statistics()`)."""
        return self._mailbox.statistics()

    def watch(self, callback: Callable[[Down], None]) -> Callable[[], None]:
        """Call `callback` once when the actor ends, or at once if it has ended already.

        Returns a function that ends the watch. (OTP: `monitor`)
        """
        return self._cell.add_watcher(callback)
