"""Find the actor that blocks the event loop: which, on which message, where and for how long.

A blocked loop cannot detect this itself, so a thread asks it to respond and, if it does not, looks
up which actor is running. Nothing is interrupted: Python has no safe way to do that. The report is
sent while the loop is blocked, so an actor that blocks it forever is reported too.
"""

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

from actors.runtime.events import Blocked

if TYPE_CHECKING:
    from actors.runtime.cell import Cell
    from actors.runtime.system import ActorSystem

LOOKS: Final = 4
"""Looks per allowed period: a report is late by at most a quarter of it."""


class LoopWatch:
    """Reports `Blocked` once for each time that the loop does not respond for `after` seconds."""

    def __init__(
        self, system: "ActorSystem", after: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._system = system
        self._after = after
        self._now = now
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self._asked = now()
        self._answered = True
        self._reported = False

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._watch, name="loop watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread and wait for it."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(self._after / LOOKS):
            try:
                self.look()
            except RuntimeError:  # the loop is closed
                return

    def look(self) -> None:
        """Ask the loop to respond, or report that it has not responded."""
        now = self._now()
        if self._answered:
            self._answered = self._reported = False
            self._asked = now
            self._loop.call_soon_threadsafe(self._answer)
        elif not self._reported and now - self._asked >= self._after:
            self._reported = True
            path, message = self._who()
            self._system.report(Blocked(path, message, now - self._asked, self._where()))

    def _answer(self) -> None:
        self._answered = True

    def _who(self) -> tuple[str, str]:
        cell = self._system.run_queue.running
        if cell is None:
            task = asyncio.current_task(self._loop)
            cell = None if task is None else self._system.at_work.get(task)
        if cell is None:
            return "", ""
        found = cast("Cell[object]", cell)
        return found.path, found.message_type

    def _where(self) -> str:
        frame = sys._current_frames().get(self._thread_id)  # noqa: SLF001 - in the docs of sys
        if frame is None:
            return ""
        return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
