"""A thread that does the work of one database connection, one job after the other."""

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
        except BaseException as error:  # noqa: BLE001 - the future's, whatever it is
            self.future.set_exception(error)
            del self  # the traceback refers to this frame
        else:
            self.future.set_result(result)


class JobThread:
    """Runs jobs in the order in which they were submitted.

    It is a daemon thread: one that hangs in a system call does not keep the process alive.
    """

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], T], at_most: int | None = None) -> "Future[T]":
        """Run `work` after the jobs before it and return its future.

        at_most: jobs that may wait already; StoreCrowded is raised if there are more.
        """
        if at_most is not None and self._jobs.qsize() >= at_most:
            raise StoreCrowded("too many requests wait for the conversations")
        job = _Job(work)
        self._jobs.put(job.run)
        return job.future

    def end(self) -> None:
        """End the thread after the jobs that were submitted."""
        self._jobs.put(None)

    def join(self, timeout: float) -> None:
        """Wait until the thread has ended, at most `timeout` seconds."""
        self._thread.join(timeout)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            del job
