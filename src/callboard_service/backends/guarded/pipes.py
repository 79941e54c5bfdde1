"""What connects the service with a running agent: its pipes, and its guardian's socket."""

import asyncio
import os
from collections.abc import Callable
from typing import Final, cast

from actors import Code, Failure

GRACE: Final = 2.0
"""Seconds between SIGTERM and SIGKILL."""

MAX_UNSENT: Final = 1024 * 1024
"""Unsent bytes above which `GuardedPipes.writable` is cleared, until a quarter of that is left."""

KEPT_ERRORS: Final = 8 * 1024
"""Bytes kept of the end of the program's standard error."""

_STDIN, _STDOUT, _STDERR = 0, 1, 2


class GuardedPipes(asyncio.SubprocessProtocol):
    """The program's pipes, and the process of its guardian.

    received: called with each piece of the program's standard output, until it is set to None.
    merged: whether it gets standard error too. one_pipe: there is none, as it goes into standard
    output.
    """

    def __init__(
        self,
        received: Callable[[bytes], None],
        *,
        merged: bool = False,
        one_pipe: bool = False,
    ) -> None:
        self.received: Callable[[bytes], None] | None = received
        self._merged = merged
        self.writable = asyncio.Event()
        self.writable.set()
        self.finished = asyncio.Event()
        """Set when standard output and standard error have ended."""
        self.exited = asyncio.Event()
        """Set when the guardian has ended."""
        self._errors = bytearray()
        self._open = {_STDIN, _STDOUT} if one_pipe else {_STDIN, _STDOUT, _STDERR}
        self._transport: asyncio.SubprocessTransport | None = None
        self._stdin: asyncio.WriteTransport | None = None

    @property
    def transport(self) -> asyncio.SubprocessTransport:
        """The guardian's process. Only once that was started."""
        assert self._transport is not None
        return self._transport

    @property
    def printed(self) -> str:
        """The end of the program's standard error."""
        return self._errors.decode(errors="replace").strip()

    def write(self, data: bytes) -> None:
        """Buffer the data and send it as the program reads. It is lost if the pipe is closed."""
        if self._stdin is not None and not self._stdin.is_closing():
            self._stdin.write(data)

    def close_input(self) -> None:
        """Close standard input, once what is buffered was sent."""
        if self._stdin is not None:
            self._stdin.close()

    def close(self) -> None:
        """Close all pipes and drop what is unsent. Call it when the guardian has ended."""
        if self._stdin is not None and _STDIN in self._open:
            self._stdin.abort()
        self.transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transports."""
        self._transport = cast("asyncio.SubprocessTransport", transport)
        stdin = self._transport.get_pipe_transport(_STDIN)
        self._stdin = cast("asyncio.WriteTransport", stdin)
        self._stdin.set_write_buffer_limits(high=MAX_UNSENT)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Pass on standard output; keep the end of standard error."""
        if fd == _STDERR:
            self._errors += data
            del self._errors[:-KEPT_ERRORS]
        if self.received is not None and (fd != _STDERR or self._merged):
            self.received(data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """Note that nobody holds the other end of a pipe, or that it was closed here."""
        self._open.discard(fd)
        if fd == _STDIN:
            self.writable.set()
        if not self._open - {_STDIN}:
            self.finished.set()

    def pause_writing(self) -> None:
        """Make writers wait."""
        self.writable.clear()

    def resume_writing(self) -> None:
        """Let writers go on."""
        self.writable.set()

    def process_exited(self) -> None:
        """Note that the guardian has ended."""
        self.exited.set()


class GuardianLine(asyncio.Protocol):
    """The socket to the guardian: lines in both directions (see `guardian`).

    report: called with sentences for the log. called: what the program is called in them.
    """

    def __init__(self, report: Callable[[str], None], called: str) -> None:
        loop = asyncio.get_running_loop()
        self.started: asyncio.Future[int] = loop.create_future()
        """The program's process number, or the Failure that says why it does not run."""
        self.ended: asyncio.Future[int | None] = loop.create_future()
        """The program's exit code, or minus its signal; None if the guardian ended before it."""
        self.lost = asyncio.Event()
        """Set when the guardian has closed its end."""
        self._report = report
        self._called = called
        self._received = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Take the lines from the guardian."""
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            self._take(*line.decode().split())

    def _take(self, word: str, value: str, number: str = "") -> None:
        if word == "sent":
            self._report(f"sent {value} to {number} processes of {self._called}")
        elif word == "left":
            self._report(f"{value} processes of {self._called} cannot be ended")
        elif word == "ended":
            self.ended.set_result(int(value))
        elif not self.started.done():  # it is cancelled if the start was
            if word == "started":
                self.started.set_result(int(value))
            else:
                text = f"{self._called} cannot be started: {os.strerror(int(value))}"
                self.started.set_exception(Failure(Code.FAILED_PRECONDITION, text))

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the guardian has ended."""
        if not self.started.done():
            text = f"the guardian of {self._called} could not be started"
            self.started.set_exception(Failure(Code.UNAVAILABLE, text))
        if not self.ended.done():
            self.ended.set_result(None)
        self.lost.set()

    def end(self, patience: float, grace: float) -> None:
        """Tell the guardian to send SIGTERM after `patience` seconds, SIGKILL `grace` later."""
        if self._transport is not None and not self.lost.is_set():
            self._transport.write(f"end {patience} {grace}\n".encode())

    def close(self) -> None:
        """Close the socket. A guardian that runs then kills everything."""
        self.started.cancel()
        if self._transport is not None:
            self._transport.close()
