"""Turns Ctrl-C into calls in the event loop, also on Windows, where asyncio cannot do so."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Self


class Interrupts:
    """Handles Ctrl-C. By default it cancels the task that created this object.

    leaving: whether that has happened. A Ctrl-C raises KeyboardInterrupt if the previous one is not
    handled yet, because the loop is blocked by a write to a pipe that nobody reads.
    """

    def __init__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("Interrupts are made in a task")
        self.leaving = False
        self._task: asyncio.Task[object] = task
        self._loop = asyncio.get_running_loop()
        self._unhandled = False
        self._call: Callable[[], None] = self.leave

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def leave(self) -> None:
        """Cancel the task, so that the program cleans up and ends."""
        self.leaving = True
        self._task.cancel()

    @contextlib.contextmanager
    def handled_by(self, call: Callable[[], None]) -> Iterator[None]:
        """Have Ctrl-C call `call` within the block."""
        before, self._call = self._call, call
        try:
            yield
        finally:
            self._call = before

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self._unhandled:
            raise KeyboardInterrupt
        self._unhandled = True
        self._loop.call_soon_threadsafe(self._handle)

    def _handle(self) -> None:
        self._unhandled = False
        self._call()
