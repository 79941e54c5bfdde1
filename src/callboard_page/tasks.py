"""Background work of the page, whose failures a person sees."""

import asyncio
from collections.abc import Callable, Coroutine


class Work:
    """Work that is under way."""

    def __init__(self, task: asyncio.Task[None]) -> None:
        self._task = task

    def cancel(self) -> None:
        """Stop it. Does nothing once it has ended."""
        self._task.cancel()


class Tasks:
    """Runs coroutines and keeps them alive.

    failed: called with the exception that one has ended with.
    """

    def __init__(self, failed: Callable[[Exception], None]) -> None:
        self._failed = failed
        self._running: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[object, object, None]) -> Work:
        """Start `work`."""
        task = asyncio.ensure_future(self._run(work))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        task.add_done_callback(lambda _: work.close())  # one cancelled at once has not begun
        return Work(task)

    async def _run(self, work: Coroutine[object, object, None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - whatever it is, a person must learn of it
            self._failed(error)

    async def settle(self) -> None:
        """Wait until everything that has been started has ended. For tests."""
        while self._running:
            await asyncio.wait(set(self._running))

    def stop(self) -> None:
        """Cancel everything."""
        for task in self._running:
            task.cancel()
