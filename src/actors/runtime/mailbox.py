"""Bounded mailboxes: what waits for an actor, in order, and what happens at the bound.

The bound is not optional (ractor and Pekko default to none; a queue without a bound hides a slow
actor until memory ends). What happens at it is one of four policies.
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
"""What a mailbox at rest has for a queue: a deque of its own is 760 bytes."""


class Nothing(Enum):
    """No message: None may be one."""

    NOTHING = 0


NOTHING: Final = Nothing.NOTHING


class Overflow(Enum):
    """What a full mailbox does with one message more."""

    WAIT = "wait"
    """`send` and `ask` wait for room, first come, first served; `tell` raises MailboxFull."""
    REFUSE = "refuse"
    """The sender gets MailboxFull."""
    DROP_OLDEST = "drop oldest"
    """The oldest message leaves as a dead letter, the new one is taken."""
    DROP_NEWEST = "drop newest"
    """The new message becomes a dead letter."""


@dataclass(frozen=True, slots=True)
class MailboxStatistics:
    """A mailbox at one moment."""

    messages: int
    capacity: int
    senders_waiting: int
    dropped: int
    """Messages that left by the overflow policy, since the actor was first started."""


class Mailbox(Generic[M]):
    """A bounded queue with senders that wait in order.

    Guarantees: messages leave in the order in which they were taken; a sender that waits is served
    before any that comes later; a sender that is cancelled before its turn has sent nothing.

    first, queue, room, mixed: for the runtime's inner loops, which do without a call. A mailbox at
    rest takes its next message as `first`, and has a queue from the second one on: most messages
    come to an actor that is idle (without that queue round a ring of actors in half the time,
    `bench/actors.py`). While fewer than `room` messages are in `queue`, one more may be appended
    to it, and nobody needs to be told. While it is not `mixed`, all are messages that nobody waits
    for, and nobody stands in line.
    """

    __slots__ = ("capacity", "dropped", "first", "line", "mixed", "overflow", "queue", "room")

    def __init__(self, capacity: int, overflow: Overflow) -> None:
        if capacity < 1:
            raise ValueError("a mailbox holds at least one message")
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
        """One more message meets the overflow policy."""
        return len(self) >= self.capacity

    @property
    def waiting(self) -> int:
        """Senders that wait for room."""
        return len(self.line) if self.line else 0

    def statistics(self) -> "MailboxStatistics":
        """What is in it and who waits for it."""
        return MailboxStatistics(len(self), self.capacity, self.waiting, self.dropped)

    def unfold(self) -> None:
        """Have a queue, the first message in it."""
        if self.queue is NO_QUEUE:
            self.queue = deque()
            self.room = self.capacity
            if self.first is not NOTHING:
                self.queue.append(self.first)
                self.first = NOTHING

    def offer(self, message: M) -> M | None:
        """Take `message` without waiting; return the one that leaves for it, if one does.

        Raises asyncio.QueueFull where the policy is WAIT or REFUSE and there is no room.
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
        """Put `message` in as soon as it has room and its turn (policy WAIT)."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.queue_up(message, turn)
        try:
            await turn
        except asyncio.CancelledError:
            self._leave(lambda entry: entry[1] is turn)
            raise

    def queue_up(self, message: M, turn: "asyncio.Future[None] | None") -> None:
        """Stand in line for room; `turn`, if there is one, is done when the message is in."""
        self.unfold()
        self.mixed = True
        if self.line is None:
            self.line = deque()
        self.line.append((message, turn))

    def withdraw(self, message: M) -> None:
        """Leave the line; harmless for one that does not stand in it."""
        self._leave(lambda entry: entry[0] is message)

    def _leave(self, wanted: "Callable[[_Waiting[M]], bool]") -> None:
        # By identity: two may wait with equal messages, or with the same one.
        for place, entry in enumerate(self.line or ()):
            if wanted(entry):
                assert self.line is not None
                del self.line[place]
                return

    def take(self) -> M:
        """Remove the oldest message; the sender that waits longest gets the room."""
        self.unfold()
        message = self.queue.popleft()
        if self.line:
            self.admit(self.line)
        return message

    def admit(self, line: "deque[_Waiting[M]]") -> None:
        """Give the room that there is to those who wait longest."""
        while line and len(self.queue) < self.capacity:
            message, turn = line.popleft()
            if turn is None:
                self.queue.append(message)
            elif not turn.done():
                self.queue.append(message)
                turn.set_result(None)

    def close(self, refusal: Callable[[M], Exception]) -> list[M]:
        """Empty the mailbox and the line; a sender in it gets its refusal.

        Returns, in order, the messages that no sender waits for.
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
        """Keep no queue while there is nothing to keep in it. To be called when it is empty."""
        self.room = 0
        self.mixed = False
        self.queue = cast("deque[M]", NO_QUEUE)
