"""Bounded mailboxes: what waits for an actor, in order, and what happens at the bound.

The bound is not optional (ractor and Pekko default to none; a queue without a bound hides a slow
actor until memory ends). What happens at it is one of four policies.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Generic, TypeAlias, TypeVar

M = TypeVar("M")

_Waiting: TypeAlias = "tuple[M, asyncio.Future[None] | None]"


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


class Mailbox(Generic[M]):
    """A bounded queue with senders that wait in order.

    Guarantees: messages leave in the order in which they were taken; a sender that waits is served
    before any that comes later; a sender that is cancelled before its turn has sent nothing.
    """

    __slots__ = ("_waiting", "capacity", "dropped", "overflow", "queue")

    def __init__(self, capacity: int, overflow: Overflow) -> None:
        if capacity < 1:
            raise ValueError("a mailbox holds at least one message")
        self.capacity = capacity
        self.overflow = overflow
        self.queue: deque[M] = deque()
        self.dropped = 0
        self._waiting: deque[_Waiting[M]] | None = None

    def __len__(self) -> int:
        return len(self.queue)

    @property
    def full(self) -> bool:
        """One more message meets the overflow policy."""
        return len(self.queue) >= self.capacity

    @property
    def waiting(self) -> int:
        """Senders that wait for room."""
        return len(self._waiting) if self._waiting else 0

    def offer(self, message: M) -> M | None:
        """Take `message` without waiting; return the one that leaves for it, if one does.

        Raises asyncio.QueueFull where the policy is WAIT or REFUSE and there is no room.
        """
        if len(self.queue) < self.capacity:
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
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append((message, turn))

    def withdraw(self, message: M) -> None:
        """Leave the line; harmless for one that does not stand in it."""
        self._leave(lambda entry: entry[0] is message)

    def _leave(self, wanted: "Callable[[_Waiting[M]], bool]") -> None:
        # By identity: two may wait with equal messages, or with the same one.
        for place, entry in enumerate(self._waiting or ()):
            if wanted(entry):
                assert self._waiting is not None
                del self._waiting[place]
                return

    def take(self) -> M:
        """Remove the oldest message; the sender that waits longest gets the room."""
        message = self.queue.popleft()
        if self._waiting:
            self._admit(self._waiting)
        return message

    def _admit(self, waiting: "deque[_Waiting[M]]") -> None:
        while waiting and len(self.queue) < self.capacity:
            message, turn = waiting.popleft()
            if turn is None:
                self.queue.append(message)
            elif not turn.done():
                self.queue.append(message)
                turn.set_result(None)

    def close(self, refusal: Callable[[M], Exception]) -> list[M]:
        """Empty the mailbox and the line; a sender in it gets its refusal.

        Returns, in order, the messages that no sender waits for.
        """
        left = list(self.queue)
        self.queue.clear()
        for message, turn in self._waiting or ():
            if turn is None:
                left.append(message)
            elif not turn.done():
                turn.set_exception(refusal(message))
        self._waiting = None
        return left
