"""Bounded mailboxes: the ordered messages of an actor, and what happens when there is no room.

The bound is not optional: an unbounded queue (the default of ractor and Pekko) hides a slow actor
until memory runs out. One of four overflow policies applies when a mailbox is full.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, Generic, Never, TypeAlias, TypeVar, cast

M = TypeVar("M")

_Waiting: TypeAlias = "tuple[M, asyncio.Future[None] | None]"


NO_QUEUE: Final[deque[Never]] = deque(maxlen=0)
"""The queue of a mailbox at rest. It is shared, since a deque of its own takes 760 bytes."""


class Nothing(Enum):
    """The sentinel for "no message", since None is a valid message."""

    NOTHING = 0


NOTHING: Final = Nothing.NOTHING


class Overflow(Enum):
    """What a full mailbox does with one more message."""

    WAIT = "wait"
    """`send` and `ask` wait for room in order of arrival; `tell` raises MailboxFull."""
    REFUSE = "refuse"
    """MailboxFull is raised in the sender."""
    DROP_OLDEST = "drop oldest"
    """The oldest message becomes a dead letter and the new one is taken."""
    DROP_NEWEST = "drop newest"
    """The new message becomes a dead letter."""


@dataclass(frozen=True, slots=True)
class MailboxStatistics:
    """A snapshot of a mailbox."""

    messages: int
    capacity: int
    senders_waiting: int
    dropped: int
    """Messages dropped by the overflow policy since the actor was first started."""


class Mailbox(Generic[M]):
    """A bounded queue whose senders wait in order.

    Guarantees: messages leave in the order in which they were taken; a waiting sender is served
    before any later one; a sender that is cancelled before its turn has sent nothing.

    first, queue, room, mixed: read and written directly by the runtime's inner loops, to save
    calls. A mailbox at rest stores its next message in `first` and gets a queue with the second:
    most messages find their actor idle (a ring of actors takes half the time without the queue,
    `bench/actors.py`). While `queue` has fewer than `room` messages, a sender may append one
    without waking anything. While `mixed` is false, the mailbox has no asks and no waiting senders.
    """

    __slots__ = ("capacity", "dropped", "first", "line", "mixed", "overflow", "queue", "room")

    def __init__(self, capacity: int, overflow: Overflow) -> None:
        if capacity < 1:
            raise ValueError("a mailbox needs room for at least one message")
        self.capacity: int = capacity
        self.overflow: Overflow = overflow
        self.first: M | Nothing = NOTHING
        self.queue: deque[M] = cast("deque[M]", NO_QUEUE)
        self.room: int = 0
        self.mixed: bool = False
        self.dropped: int = 0
        self.line: deque[_Waiting[M]] | None = None

    def __len__(self) -> int:
        return len(self.queue) if self.first is NOTHING else 1

    @property
    def full(self) -> bool:
        """Return whether the overflow policy applies to the next message."""
        return len(self) >= self.capacity

    @property
    def waiting(self) -> int:
        """The number of senders that wait for room."""
        return len(self.line) if self.line else 0

    def statistics(self) -> "MailboxStatistics":
        """Return its counts of messages and of waiting senders."""
        return MailboxStatistics(len(self), self.capacity, self.waiting, self.dropped)

    def unfold(self) -> None:
        """Switch from `first` to a queue, which then starts with that message."""
        if self.queue is NO_QUEUE:
            self.queue = deque()
            self.room = self.capacity
            if self.first is not NOTHING:
                self.queue.append(self.first)
                self.first = NOTHING

    def offer(self, message: M) -> M | None:
        """Take `message` without waiting; return the message that the policy drops, or None.

        Raises asyncio.QueueFull if there is no room and the policy is WAIT or REFUSE.
        """
        self.unfold()
        if len(self.queue) < self.capacity:
            self.room = self.capacity
            self.queue.append(message)
            return None
        if self.overflow is Overflow.WAIT or self.overflow is Overflow.REFUSE:
            raise asyncio.QueueFull
        self.dropped += 1
        if self.overflow is Overflow.DROP_NEWEST:
            return message
        oldest = self.queue.popleft()
        self.queue.append(message)
        return oldest

    async def wait(self, message: M) -> None:
        """Wait for this sender's turn and for room, and put `message` in (policy WAIT)."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.queue_up(message, turn)
        try:
            await turn
        except asyncio.CancelledError:
            self._leave(lambda entry: entry[1] is turn)
            raise

    def queue_up(self, message: M, turn: "asyncio.Future[None] | None") -> None:
        """Add `message` to the line for room; `turn`, if any, completes when the message is in."""
        self.unfold()
        self.mixed = True
        if self.line is None:
            self.line = deque()
        self.line.append((message, turn))

    def withdraw(self, message: M) -> None:
        """Remove `message` from the line. Does nothing if it is not in it."""
        self._leave(lambda entry: entry[0] is message)

    def _leave(self, wanted: "Callable[[_Waiting[M]], bool]") -> None:
        # Compared by identity: two senders may wait with equal messages, or with the same one.
        for place, entry in enumerate(self.line or ()):
            if wanted(entry):
                assert self.line is not None
                del self.line[place]
                return

    def take(self) -> M:
        """Remove and return the oldest message; the longest-waiting sender gets its room."""
        self.unfold()
        message = self.queue.popleft()
        if self.line:
            self.admit(self.line)
        return message

    def admit(self, line: "deque[_Waiting[M]]") -> None:
        """Move messages from the line into the queue, oldest first, while there is room."""
        while line and len(self.queue) < self.capacity:
            message, turn = line.popleft()
            if turn is None:
                self.queue.append(message)
            elif not turn.done():
                self.queue.append(message)
                turn.set_result(None)

    def close(self, refusal: Callable[[M], Exception]) -> list[M]:
        """Empty the mailbox and the line; return, in order, what no sender waits for.

        refusal: makes the error that is raised in a sender that waits in the line.
        """
        left = list(self.queue) if self.first is NOTHING else [self.first]
        self.first = NOTHING
        self.queue.clear()
        self.rest()
        for message, turn in self.line or ():
            if turn is None:
                left.append(message)
            elif not turn.done():
                turn.set_exception(refusal(message))
        self.line = None
        return left

    def rest(self) -> None:
        """Release the empty queue. Call only when the mailbox is empty."""
        self.room = 0
        self.mixed = False
        self.queue = cast("deque[M]", NO_QUEUE)
