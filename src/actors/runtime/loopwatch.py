"""Finds the actor that holds up the event loop: which, in which message, where, and how long.

The loop cannot see this of itself, so a thread asks it for a sign of life and, if none comes, looks
who has the turn. Nothing is interrupted: Python has no safe way to. The report goes out while the
loop is held up, so that one which is never free again is named too.
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
"""Looks in the time that is allowed: a report is late by a quarter of it at most."""


class LoopWatch:
    """Reports `Blocked` once for each time that the loop gives no sign for `after` seconds."""

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
        """Begin to look."""
        self._thread = threading.Thread(target=self._watch, name="loop watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
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
        """Ask the loop for a sign of life, or report that it has given none."""
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
        frame = sys._current_frames().get(self._thread_id)
        if frame is None:
            return ""
        return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
