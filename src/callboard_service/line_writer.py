"""Writes lines to a file descriptor from a thread, so that no other code waits for it or fails.

A pipe that nobody reads blocks its writer; a full disk and a closed pipe raise. Here both only cost
lines: the queue is bounded in lines and in bytes, lines beyond that are dropped and counted, and a
failed write is retried until it succeeds.
"""

import contextlib
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Final

MAX_LINES: Final = 4096
MAX_BYTES: Final = 1024 * 1024
"""The most that may wait to be written."""

RETRY: Final = 0.5
"""Seconds until a failed write is retried."""

BATCH: Final = 64 * 1024
"""Bytes after which no further line is added to one write."""

Write = Callable[[bytes], int]


class LineWriter:
    """A bounded queue of lines and the daemon thread that writes them.

    write: writes some of the given bytes and returns how many; may block and raise OSError.
    dropped: returns the line that reports how many lines were dropped. idle: called on the writer's
    thread before it waits; returns the seconds after which to call it again, or None. The thread
    starts with the first line.
    """

    def __init__(
        self,
        write: Write,
        dropped: Callable[[int], bytes],
        *,
        idle: Callable[[], float | None] = lambda: None,
        max_lines: int = MAX_LINES,
        max_bytes: int = MAX_BYTES,
        retry: float = RETRY,
    ) -> None:
        self._write = write
        self._render_dropped = dropped
        self._idle = idle
        self._max_lines = max_lines
        self._max_bytes = max_bytes
        self._retry = retry
        # Reentrant, like SimpleQueue: a finalizer or a signal handler may log at any point.
        self._lock = threading.RLock()
        self._queue: SimpleQueue[bytes] = SimpleQueue()
        self._lines = 0
        self._bytes = 0
        self._dropped = 0
        self._failing = False
        self._started = False
        self._woken = False

    def put(self, line: bytes) -> None:
        """Queue a line, which ends with a newline. Never blocks and never raises."""
        with self._lock:
            if self._lines >= self._max_lines or self._bytes + len(line) > self._max_bytes:
                self._dropped += 1
                return
            self._lines += 1
            self._bytes += len(line)
            self._queue.put(line)
        self._start()

    def wake(self) -> None:
        """Have the thread call `idle` soon."""
        if not self._woken:
            self._woken = True
            self._queue.put(b"")
        self._start()

    def _start(self) -> None:
        with self._lock:
            start, self._started = not self._started, True
        if start:
            thread = threading.Thread(target=self._run, name="line writer", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no more threads; the next line tries again
                self._started = False

    def flush(self, seconds: float) -> bool:
        """Wait at most `seconds` until all is written; return whether it was.

        Does not wait while writes fail.
        """
        end = time.monotonic() + seconds
        while self._lines and not self._failing and time.monotonic() < end:
            time.sleep(0.002)
        return not self._lines

    # -- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            lines = self._collect()
            if lines:
                self._write_all(b"".join(lines))
                with self._lock:
                    self._lines -= len(lines)
                    self._bytes -= sum(map(len, lines))
            self._report_dropped()

    def _collect(self) -> list[bytes]:
        """Wait for lines and return them; empty if `idle` is to be called again."""
        self._woken = False
        try:
            wait = self._idle()
        except Exception:  # noqa: BLE001 - lines must be written even if `idle` fails
            wait = RETRY
        lines: list[bytes] = []
        size = 0
        try:
            line = self._queue.get(timeout=wait)
            while True:
                if line:
                    lines.append(line)
                    size += len(line)
                if size >= BATCH:
                    break
                line = self._queue.get_nowait()
        except Empty:
            pass
        return lines

    def _write_all(self, data: bytes) -> None:
        """Write all of `data`, retrying as often as needed, so that no line is left incomplete."""
        while data:
            try:
                data = data[self._write(data) :]
                self._failing = False
            except BlockingIOError:  # another process has made the descriptor non-blocking
                time.sleep(0.02)
            except (OSError, ValueError):
                self._failing = True
                time.sleep(self._retry)

    def _report_dropped(self) -> None:
        with self._lock:
            count, self._dropped = self._dropped, 0
        if count:
            self._write_all(self._render_dropped(count))


def descriptor_write(descriptor: int) -> Write:
    """Return a function that writes to this file descriptor."""
    if sys.platform == "win32" and os.isatty(descriptor):
        console = sys.__stderr__ if descriptor == 2 else sys.__stdout__
        if console is not None:

            def write_console(data: bytes) -> int:
                console.buffer.write(data)  # this converts to the UTF-16 that a console takes
                console.buffer.flush()
                return len(data)

            return write_console

    def write(data: bytes) -> int:
        try:
            return os.write(descriptor, data)
        except BlockingIOError:
            if sys.platform != "win32":
                with contextlib.suppress(ValueError):
                    select.select([], [descriptor], [], 1.0)
            raise

    return write
