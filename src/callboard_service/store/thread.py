"""Provides a thread that runs the jobs of one database connection, one at a time."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Generic, TypeVar

from callboard_service.store.errors import StoreCrowded

T = TypeVar("T")


class _Job(Generic[T]):
    __slots__ = ("future", "work")

    def __init__(self, work: Callable[[], T]) -> None:
        self.work = work
        self.future: Future[T] = Future()

    def run(self) -> None:
        try:
            result = self.work()
        except BaseException as error:  # noqa: BLE001 - any exception belongs to the future
            self.future.set_exception(error)
            del self  # breaks the cycle: the traceback refers to this frame
        else:
            self.future.set_result(result)


class JobThread:
    """A daemon thread that runs jobs in the order in which they were submitted.

    As a daemon it does not keep the process alive if a job hangs in a system call.
    """

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], T], at_most: int | None = None) -> "Future[T]":
        """Queue `work` and return a future with its result.

        Raises StoreCrowded if `at_most` jobs are already waiting; None: no limit.
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
