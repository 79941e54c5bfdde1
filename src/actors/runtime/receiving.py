"""How messages enter a mailbox when somebody waits: a sender for room, or an asker for an answer.

Messages that nobody waits for take the shorter path through `Cell.put`.
"""

import asyncio
from typing import TYPE_CHECKING, Never, TypeVar, cast

from actors.errors import AskDropped, MailboxFull, NotRunning, Rejected
from actors.runtime.ask import Asked, Reply
from actors.runtime.cycles import Waiting, asker_of, find_cycle
from actors.runtime.events import DeadLetter
from actors.runtime.mailbox import Overflow
from actors.runtime.states import STOPPING

if TYPE_CHECKING:
    from actors.runtime.cell import Cell

M = TypeVar("M")
N = TypeVar("N")


async def put_waiting(cell: "Cell[M]", message: M) -> None:
    """Take a message; wait for room if the mailbox is full and its policy is WAIT.

    Raises NotRunning, and MailboxFull under REFUSE or if the wait would complete a cycle.
    """
    if cell.state >= STOPPING:
        raise NotRunning(cell.path, message)
    if not (cell.mailbox.full and cell.mailbox.overflow is Overflow.WAIT):
        cell.put(message)
        return
    sender = asker_of(cell.system)
    if sender is None:
        await cell.mailbox.wait(message)
        return
    this = cast("Cell[Never]", cell)
    if find_cycle(sender, this) is not None:
        raise MailboxFull(cell.path, message)
    waiting = cell.system.waiting
    waiting[sender] = Waiting(this, None)
    try:
        await cell.mailbox.wait(message)
    finally:
        del waiting[sender]


def put_question(cell: "Cell[M]", message: M, reply: Reply[N]) -> Asked:
    """Take an ask without waiting; a full mailbox with the policy WAIT puts it in line for room.

    Raises NotRunning and MailboxFull.
    """
    if cell.state >= STOPPING:
        raise NotRunning(cell.path, message)
    asked = Asked(message, cast("Reply[object]", reply))
    mailbox = cell.mailbox
    mailbox.mixed = True
    if not cell.busy:
        cell.busy = True
        mailbox.first = asked
        # The asker waits, so run the actor at once if possible.
        if not cell.system.run_queue.run_now(cell):
            cell.schedule()
    elif len(mailbox.queue) < mailbox.room:
        mailbox.queue.append(asked)
    else:
        if mailbox.full and mailbox.overflow is Overflow.WAIT:
            mailbox.queue_up(asked, None)
        else:
            cell.offer(asked, message)
        cell.notify()
    return asked


def withdraw(cell: "Cell[M]", asked: Asked) -> None:
    """Remove an ask that is still in line for room."""
    if cell.mailbox.line:
        cell.mailbox.withdraw(asked)


def offer(cell: "Cell[M]", item: M | Asked, message: M) -> None:
    """Take an item according to the overflow policy. Raises MailboxFull with `message`."""
    try:
        displaced = cell.mailbox.offer(item)
    except asyncio.QueueFull:
        raise MailboxFull(cell.path, message) from None
    if displaced is not None:
        cell.discard(displaced)


def discard(cell: "Cell[M]", item: M | Asked, refusal: Exception | None = None) -> None:
    """Count and report an item as a dead letter; if it is an ask, fail it.

    refusal: the error for the asker; None: AskDropped.
    """
    if isinstance(item, Asked):
        item.reply.fail(refusal or AskDropped(f"{cell.path}: the question was dropped"))
    cell.system.dead_letters += 1
    if cell.system.observes(DeadLetter):
        message = item.message if isinstance(item, Asked) else item
        cell.system.report(DeadLetter(cell.path, type(message).__name__))


def refusal(
    cell: "Cell[M]",  # noqa: ARG001 - a method of Cell, which subclasses override
    error: BaseException | None,
) -> Exception | None:
    """Return the error for askers in the mailbox of an actor that `error` ends; None: AskDropped.

    Called once, when the actor begins to stop.
    """
    return error.failure if isinstance(error, Rejected) else None


def unwrap(cell: "Cell[M]", item: M | Asked) -> M:
    """Return the message in an item that has left the queue, and let the line have its room.

    If the item is an ask, note that its asker now waits for this incarnation.
    """
    mailbox = cell.mailbox
    if mailbox.line:
        mailbox.admit(mailbox.line)
    if not isinstance(item, Asked):
        return item
    cell.incarnation.add_pending(item.reply)
    item.opened = True
    return cast("M", item.message)
