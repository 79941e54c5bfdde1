"""The end of the process: asked for in any way, bounded in time, decided outside the event loop.

The event loop may be blocked, by a handler or by a database, when the process is told to stop. So
a thread keeps the state: it hears signals through `signal.set_wakeup_fd`, which C code that has
released the interpreter lock does not delay, tells the event loop to stop, and ends the process
when that has not happened in time. `faulthandler` is the backstop, a timer in C that needs no
interpreter lock.

The limit of all this: code in C that holds the interpreter lock and never checks for signals. It
delays the first signal until it returns; after the first signal was heard, the backstop ends it.
Code that holds the lock and does check (a regular expression) is ended by the backstop too.
"""

import asyncio
import contextlib
import faulthandler
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Final, NoReturn

EXIT_FAILED: Final = 1
"""The exit code of a process that failed, or that could not stop in time."""

WATCHDOG: Final = 4.6
"""Seconds after the drain time at which the process is ended, whatever it does."""

BACKSTOP: Final = 0.3
"""Seconds after that until it is ended without the interpreter's help."""

SIGNALS: Final = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    if hasattr(signal, name)
)
"""What stops the service. SIGHUP: its terminal was closed. SIGBREAK: the same on Windows."""


HANG_UP: Final[int | None] = getattr(signal, "SIGHUP", None)
"""Never the second signal: a terminal that is closed may send two, its shell's and the kernel's."""


class Shutdown:
    """Tells the running event loop once that the process is to stop, and makes sure that it does.

    drain: the seconds that running requests get. Made on the main thread, in the running loop.
    """

    def __init__(self, drain: float) -> None:
        self.forsake: Callable[[], None] = lambda: None
        """What to do before the process ends at once; it must be quick and may run anywhere."""
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
            # `nohup` ignores SIGHUP, and means it.
            if number == SIGNALS[0] or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)
        self.listen()

    def listen(self) -> None:
        """Hear signals at once. On the main thread, in the running loop.

        uvloop has a descriptor of its own there: what arrives is passed on to it.
        """
        before = signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        if before != self._sender.fileno():
            self._forward = before

    def restarted(self) -> None:
        """Hear signals again in a loop that is about to be run once more."""
        self._forward = -1
        self._loop.call_soon(self.listen)

    def begin(self) -> None:
        """Have the process stop. From any thread and from signal handlers, any number of times."""
        if self._begun:
            return
        self._begun = True
        # Here and not in the guard, which code in C may keep from the interpreter lock: a regular
        # expression at work lets signals be handled, and nothing else.
        faulthandler.dump_traceback_later(self._limit + BACKSTOP, exit=True, file=self._null)
        with contextlib.suppress(OSError):
            self._sender.send(b"\0")
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._asked.set)

    async def asked(self) -> None:
        """Wait until the process is to stop."""
        await self._asked.wait()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._handled += 1
        self._judge(number, self._handled)

    def _judge(self, number: int, count: int) -> None:
        """Stop at the first signal, end at once at the second unless that is SIGHUP.

        Each signal is seen by the main thread and by the guard, in any order: each has a count.
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
        """Count the signals in what has arrived, and have the loop see to its own."""
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
