"""The writes that wait for a database's thread. Those that wait together share a transaction.

While the thread is busy, writes gather; what has gathered is its next transaction. So a database
that is asked for more than it can do has fewer transactions to make (group commit, as in MySQL's
binary log). ADR 64 gives the reasons.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from callboard_service.store.errors import StoreCrowded
from callboard_service.store.transaction import Transaction

T = TypeVar("T")

AT_ONCE: Final = 32
"""Writes that share a transaction at most; the first of them waits for the last."""


class Write(Generic[T]):
    """A write, and what came of it.

    deadline: until when it waits for another process's lock, by `time.monotonic`. joins: it may
    share a transaction with others.
    """

    __slots__ = ("_ended", "_error", "_result", "_work", "deadline", "future", "joins")

    def __init__(self, work: Callable[[Transaction], T], deadline: float, *, joins: bool) -> None:
        self._work = work
        self.deadline = deadline
        self.joins = joins
        self.future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        """Its result; until it is settled. Cancelling it does not cancel the write."""
        self._result: list[T] = []
        self._error: BaseException | None = None
        self._ended: list[asyncio.Future[None]] | None = []

    def run(self, transaction: Transaction) -> None:
        """Do the work, and keep its result. Called in the thread; may be called again."""
        self._result = [self._work(transaction)]

    def fail(self, error: BaseException) -> None:
        """Keep the error that its transaction failed with. Called in the thread."""
        if isinstance(error, StopIteration):  # a future takes none
            error = RuntimeError(f"a write raised {error!r}")
        self._error = error

    def settle(self) -> None:
        """Tell the caller what came of it. Called in the event loop."""
        error, self._error = self._error, None
        future = self.future
        del self.future  # the frames in the error's traceback have this, and would be a cycle
        if not future.done():
            if error is None:
                future.set_result(self._result[0])
            else:
                future.set_exception(error)
        ended, self._ended = self._ended, None
        for waiter in ended or ():
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, seconds: float) -> None:
        """Wait until it is settled, for at most so long."""
        if self._ended is not None:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._ended.append(waiter)
            await asyncio.wait({waiter}, timeout=seconds)


class WriteQueue:
    """Hands writes to a thread in their order, a transaction at a time.

    submit: has the thread carry out some writes, in one transaction if there are several; its
    future ends when that is done, and raises nothing.
    """

    def __init__(self, submit: Callable[[Sequence[Write[object]]], asyncio.Future[None]]) -> None:
        self._submit = submit
        self._waiting: deque[Write[object]] = deque()
        self._busy = False
        self.last: Write[object] | None = None
        """The write that was added last; None if it is settled."""

    def add(self, write: "Write[object]", at_most: int) -> None:
        """Add a write. Raises StoreCrowded if `at_most` wait already."""
        if len(self._waiting) >= at_most:
            raise StoreCrowded("too many requests are waiting for the conversation store")
        self._waiting.append(write)
        self.last = write
        if not self._busy:
            self._hand_over()

    def flush(self) -> None:
        """Hand all writes to the thread now."""
        while self._waiting:
            self._hand_over()

    def _hand_over(self) -> None:
        waiting = self._waiting
        writes = [waiting.popleft()]
        while writes[0].joins and waiting and waiting[0].joins and len(writes) < AT_ONCE:
            writes.append(waiting.popleft())
        self._busy = True
        self._submit(writes).add_done_callback(lambda _: self._done(writes))

    def _done(self, writes: "Sequence[Write[object]]") -> None:
        self._busy = False
        if self._waiting:
            self._hand_over()  # before the callers go on, so that the thread does not wait for them
        if self.last is writes[-1]:
            self.last = None
        for write in writes:
            write.settle()
