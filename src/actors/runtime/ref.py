"""The address of an actor: all that others hold of it. Stays valid across restarts."""

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
    """Where messages of type M go. Cheap, comparable by identity of the actor."""

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
        """The actor takes messages (it may be starting, or between crash and restart)."""
        return self._cell.alive

    @property
    def state(self) -> str:
        """Where in its life the actor is: starting, running, paused, stopping or stopped."""
        return self._cell.state.name.lower()

    def tell(self, message: M_contra) -> None:
        """Put a message into the mailbox, at once.

        Messages from one sender are handled in the order in which they were told. Raises
        MailboxFull by the mailbox's policy. To an actor that is no more: a dead letter.
        """
        mailbox = self._mailbox
        queue = mailbox.queue
        if len(queue) < mailbox.room:
            queue.append(message)
        else:
            self._cell.put(message)

    @property
    def tell_now(self) -> Callable[[M_contra], None]:
        """`tell`, but handled before it returns, where the actor is idle and need not wait.

        Order, and one message at a time, are as with `tell`: whatever stands before the message is
        handled before it. For who is called by the event loop itself, and holds nothing.
        """
        return self._cell.put_now

    async def send(self, message: M_contra) -> None:
        """`tell`, but wait for room where the policy is WAIT. Raises NotRunning too.

        Raises MailboxFull for one actor of a circle in which each waits for room at the next.
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

        Raises AskTimeout after `timeout` seconds (waiting for room in the mailbox included),
        AskCrashed at once if the actor crashes on it, AskDropped if it stops or drops it,
        NotRunning or MailboxFull if it was not taken, AskCycle if the actor waits for the asker.
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
            timeout, lambda: reply.fail(AskTimeout(f"{cell.path}: no answer in {timeout} s"))
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
        """Tell the actor to stop: after the message in hand, its children first.

        What is still in its mailbox becomes dead letters. Past its shutdown limit it is cancelled.
        """
        self._cell.stop()

    def kill(self) -> None:
        """Stop the actor without waiting for the message in hand: its task is cancelled."""
        self._cell.stop(limit=0.0)

    def restart_never(self) -> None:
        """From now on a crash is the end of the actor: what it did must not be done twice."""
        if self._cell.lifecycle.restart is Restart.TEMPORARY:
            return
        self._cell.lifecycle = replace(self._cell.lifecycle, restart=Restart.TEMPORARY)

    async def join(self) -> Down:
        """Wait until the actor is no more."""
        return await self._cell.join()

    def statistics(self) -> MailboxStatistics:
        """How its mailbox stands. After trio's `.statistics()`."""
        return self._mailbox.statistics()

    def watch(self, callback: Callable[[Down], None]) -> Callable[[], None]:
        """Call `callback` once when the actor is no more; at once if it is already so.

        The result ends the watch. (OTP: `monitor`)
        """
        return self._cell.add_watcher(callback)
