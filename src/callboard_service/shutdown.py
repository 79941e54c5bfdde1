"""Stops the process within a bounded time, even if the event loop is blocked.

The event loop may be blocked by a handler or a database when the process is told to stop. So a
separate thread, the guard, receives signals through `signal.set_wakeup_fd`, which works while C
code runs without the interpreter lock. It tells the event loop to stop and ends the process if that
does not happen in time. The backstop is a `faulthandler` timer, which is written in C and does not
need the interpreter lock.

One case remains: C code that holds the interpreter lock and never checks for signals delays the
first signal until it returns. If it starts after the first signal was handled, the backstop ends
the process. The backstop also ends code that holds the lock but does check for signals, such as a
regular expression.
"""

import asyncio
import contextlib
import faulthandler
import os
import signal
import socket
import threading
import time
from types import FrameType
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

EXIT_FAILED: Final = 1
"""Exit code of a process that failed or did not stop in time."""

WATCHDOG: Final = 4.6
"""Seconds after the drain time at which the guard ends the process."""

BACKSTOP: Final = 0.3
"""Seconds after that at which `faulthandler` ends the process without the interpreter lock."""

SIGNALS: Final = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    if hasattr(signal, name)
)
"""The signals that stop the service. SIGHUP: its terminal was closed. SIGBREAK: same on Windows."""


HANG_UP: Final[int | None] = getattr(signal, "SIGHUP", None)
"""Never ends the process at once: closing a terminal may send two, by the shell and the kernel."""


class Shutdown:
    """Tells the event loop once that the process is to stop, and makes sure that it does.

    drain: the seconds that running requests get. Create it on the main thread, in the running loop.
    """

    def __init__(self, drain: float) -> None:
        self.forsake: Callable[[], None] = lambda: None
        """Called before the process is ended at once; must be quick, and may run in any thread."""
        self._limit = drain + WATCHDOG
        self._loop = asyncio.get_running_loop()
        self._asked = asyncio.Event()
        self._begun = False
        self._handled = 0
        self._heard = 0
        self._forward = -1
        self._receiver, self._sender = socket.socketpair()
        self._sender.setblocking(False)
        self._null = open(os.devnull, "wb")  # noqa: SIM115 - open until the process ends
        threading.Thread(target=self._guard, name="shutdown", daemon=True).start()
        for number in SIGNALS:
            # A signal that is ignored stays ignored (SIGHUP under `nohup`), except SIGINT.
            if number == SIGNALS[0] or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)
        self.listen()

    def listen(self) -> None:
        """Direct signals to the guard. Call on the main thread, in the running loop.

        If uvloop has set a wakeup descriptor of its own, signals are forwarded to it.
        """
        before = signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        if before != self._sender.fileno():
            self._forward = before

    def restarted(self) -> None:
        """Receive signals again when the loop, which has stopped, runs once more."""
        self._forward = -1
        self._loop.call_soon(self.listen)

    def begin(self) -> None:
        """Start to stop the process. May be called repeatedly, in any thread or signal handler."""
        if self._begun:
            return
        self._begun = True
        # Here and not in the guard, because C code may keep the guard from running: a regular
        # expression lets signal handlers run while it holds the interpreter lock.
        faulthandler.dump_traceback_later(self._limit + BACKSTOP, exit=True, file=self._null)
        with contextlib.suppress(OSError):
            self._sender.send(b"\0")
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._asked.set)

    async def asked(self) -> None:
        """Wait until the process is told to stop."""
        await self._asked.wait()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._handled += 1
        self._judge(number, self._handled)

    def _judge(self, number: int, count: int) -> None:
        """Stop at the first signal; end at once at a later one unless that is SIGHUP.

        The main thread and the guard each see every signal, in any order, so each keeps a count.
        """
        if count > 1 and number != HANG_UP:
            self._end(128 + number)
        self.begin()

    def _guard(self) -> None:
        deadline: float | None = None
        while True:
            wait = None if deadline is None else max(deadline - time.monotonic(), 0.001)
            self._receiver.settimeout(wait)
            try:
                data = self._receiver.recv(64)
            except TimeoutError:
                self._end(EXIT_FAILED)
            self._hear(data)
            if deadline is None and self._begun:
                deadline = time.monotonic() + self._limit

    def _hear(self, data: bytes) -> None:
        """Count the signals received and forward them to the event loop's wakeup descriptor."""
        for number in data:
            if number in SIGNALS and signal.getsignal(number) == self._on_signal:
                self._heard += 1
                self._judge(number, self._heard)
        numbers = data.replace(b"\0", b"")
        if numbers and self._forward >= 0:
            with contextlib.suppress(OSError):
                os.write(self._forward, numbers)

    def _end(self, code: int) -> NoReturn:
        """End the process at once."""
        try:
            self.forsake()
        finally:
            os._exit(code)
