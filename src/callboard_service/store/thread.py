"""Provides a thread that runs the jobs of one database connection, one at a time."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Generic, TypeVar

from callboard_service.store.errors import StoreCrowded

S = TypeVar("S")
T = TypeVar("T")


class _Job(Generic[T]):
    __slots__ = ("_loop", "_work", "future")

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[T] = self._loop.create_future()

    def run(self) -> None:
        try:
            result = self._work()
        except BaseException as error:  # noqa: BLE001 - any exception belongs to the future
            self._tell(self._fail, error)
            del self  # breaks the cycle: the traceback refers to this frame
        else:
            self._tell(self._end, result)

    def _tell(self, call: Callable[[S], None], outcome: S) -> None:
        with suppress(RuntimeError):  # the event loop was closed, so nobody waits
            self._loop.call_soon_threadsafe(call, outcome)

    def _end(self, result: T) -> None:
        if not self.future.done():
            self.future.set_result(result)

    def _fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class JobThread:
    """A daemon thread that runs jobs in the order in which they were submitted.

    As a daemon it does not keep the process alive if a job hangs in a system call.
    """

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], T], at_most: int | None = None) -> "asyncio.Future[T]":
        """Queue `work` and return a future of the running event loop with its result.

        Cancelling the future does not cancel the work. Raises StoreCrowded if `at_most` jobs are
        already waiting; None: no limit.
        """
        if at_most is not None and self._jobs.qsize() >= at_most:
            raise StoreCrowded("too many requests are waiting for the conversation store")
        job = _Job(work)
        self._jobs.put(job.run)
        return job.future

    def end(self) -> None:
        """Stop the thread once the jobs submitted so far are done."""
        self._jobs.put(None)

    def join(self, timeout: float) -> None:
        """Wait until the thread has ended, for at most `timeout` seconds."""
        self._thread.join(timeout)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            del job
