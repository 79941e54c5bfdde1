"""How messages reach an actor: at once, with a sender that waits for room, or as questions.

`Cell.put` is the short way, for messages that nobody waits for.
"""

import asyncio
from typing import TYPE_CHECKING, Never, TypeVar, cast

from actors.errors import AskDropped, MailboxFull, NotRunning
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
    """Take a message whose sender waits for room."""
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
    """Take a question; where the policy is WAIT it stands in line for room."""
    if cell.state >= STOPPING:
        raise NotRunning(cell.path, message)
    asked = Asked(message, cast(Reply[object], reply))
    mailbox = cell.mailbox
    mailbox.mixed = True
    if not cell.busy:
        cell.busy = True
        mailbox.first = asked
        # Somebody waits for what comes of it.
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
    """Take a question back that still stands in line."""
    if cell.mailbox.line:
        cell.mailbox.withdraw(asked)


def offer(cell: "Cell[M]", item: M | Asked, message: M) -> None:
    """Take an item by the mailbox's policy. Raises MailboxFull, with the message."""
    try:
        displaced = cell.mailbox.offer(item)
    except asyncio.QueueFull:
        raise MailboxFull(cell.path, message) from None
    if displaced is not None:
        cell.discard(displaced)


def discard(cell: "Cell[M]", item: M | Asked) -> None:
    """Count what nobody will handle, and fail the asker of a question."""
    if isinstance(item, Asked):
        item.reply.fail(AskDropped(f"{cell.path}: the question was dropped"))
    cell.system.dead_letters += 1
    if cell.system.observed:
        message = item.message if isinstance(item, Asked) else item
        cell.system.report(DeadLetter(cell.path, type(message).__name__))


def unwrap(cell: "Cell[M]", item: M | Asked) -> M:
    """The message in what has been taken out of the queue; its room goes to who stands in line.

    The asker of a question now waits for this actor.
    """
    mailbox = cell.mailbox
    if mailbox.line:
        mailbox.admit(mailbox.line)
    if not isinstance(item, Asked):
        return item
    cell.incarnation.add_pending(item.reply)
    item.opened = True
    return cast(M, item.message)
