"""Start `callboard` as a copy of a process that has imported it, which saves half a second each.

A copy is a process of its own, with its own arguments, environment, folder and descriptors; it runs
`callboard_service.entry.main`. What it shares with the program that users start is everything but
the start of the interpreter and the imports; tests of these use `subprocess`.
"""

import contextlib
import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Final

AVAILABLE: Final = hasattr(os, "pidfd_open")
"""Whether this system has what is needed: Linux."""

_READ_AT_START: Final = ("PYTHON", "LANG", "LC_", "SSL_")
"""Beginnings of variables that the interpreter or an import reads."""

MAX_ASKED: Final = 1 << 20
"""Bytes that are sent to have a copy made."""


class Copy:
    """A running copy: the part of `subprocess.Popen` that the tests use."""

    def __init__(
        self, pid: int, status: socket.socket, stdin: IO[bytes] | None, stdout: IO[bytes] | None
    ) -> None:
        self.pid: int = pid
        self.stdin: IO[bytes] | None = stdin
        self.stdout: IO[bytes] | None = stdout
        self.returncode: int | None = None
        self._status = status

    def poll(self) -> int | None:
        """Return the exit code as `Popen` does, or None while it runs."""
        if self.returncode is None:
            self._status.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                self._take_status()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code. Raises TimeoutExpired."""
        if self.returncode is None:
            self._status.settimeout(timeout)
            try:
                self._take_status()
            except TimeoutError:
                raise subprocess.TimeoutExpired("callboard", timeout or 0.0) from None
        assert self.returncode is not None
        return self.returncode

    def _take_status(self) -> None:
        said = self._status.recv(32)
        assert said, "the process from which copies are made has ended"
        self.returncode = int(said)
        self._status.close()

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(15)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(9)


class Source:
    """The process from which copies are made; it has imported the program once."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=environment,
            )
        self._socket = ours

    def start(
        self,
        arguments: Sequence[str],
        folder: Path | str,
        environment: Mapping[str, str],
        *,
        stdin: int,
        stdout: int,
        stderr: int,
        controlled: bool = False,
    ) -> tuple[int, socket.socket]:
        """Start a copy with these descriptors; return its process id and where its status comes.

        controlled: by the terminal that is its standard input, in a session of its own.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            wanted = [list(arguments), str(folder), dict(environment), controlled]
            asked = json.dumps(wanted).encode()
            assert len(asked) < MAX_ASKED
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * MAX_ASKED)
            socket.send_fds(self._socket, [asked], [stdin, stdout, stderr, theirs.fileno()])
        pid = int(ours.recv(32))
        return pid, ours


def may_copy(settings: Mapping[str, str]) -> bool:
    """Return whether a process with these variables may be a copy.

    A copy takes on PYTHONPATH. What the interpreter makes of relative entries is left to it.
    """
    others = dict(settings)
    paths = others.pop("PYTHONPATH", "/").split(os.pathsep)
    begins = any(name.startswith(_READ_AT_START) for name in others)
    return AVAILABLE and all(map(os.path.isabs, paths)) and not begins


_SOURCES: Final[list[Source]] = []


def source() -> Source:
    """Return the process of which copies are made; it is started once and ends with this one."""
    if not _SOURCES:
        _SOURCES.append(Source())
    return _SOURCES[0]


def started(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], stderr: int
) -> Copy:
    """Start `callboard` with these arguments and pipes for standard input and output."""
    read_input, write_input = os.pipe()
    read_output, write_output = os.pipe()
    try:
        pid, status = source().start(
            arguments, folder, environment, stdin=read_input, stdout=write_output, stderr=stderr
        )
    finally:
        os.close(read_input)
        os.close(write_output)
    return Copy(pid, status, os.fdopen(write_input, "wb"), os.fdopen(read_output, "rb"))


# -- in the process of which copies are made ---------------------------------------------------


class Maker:
    """Makes copies of this process when asked to, and tells the exit code of each as it ends."""

    def __init__(self, asked: socket.socket) -> None:
        self._asked = asked
        self._selector = selectors.DefaultSelector()
        self._selector.register(asked, selectors.EVENT_READ)
        self._running: dict[int, tuple[int, socket.socket]] = {}
        """The process and where its status goes, for each process descriptor."""

    def serve(self) -> bool:
        """Return True in a copy, which is to run the program, and False at the end."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is not self._asked:
                    assert isinstance(key.fileobj, int)
                    self._tell_end(key.fileobj)
                    continue
                data, descriptors, _, _ = socket.recv_fds(self._asked, MAX_ASKED, 4)
                if not data:
                    return False
                if self._copy(data, descriptors):
                    return True

    def _copy(self, data: bytes, descriptors: Sequence[int]) -> bool:
        """Make a copy; return whether this is the copy."""
        pid = os.fork()
        if not pid:
            self._become(data, descriptors)
            return True
        for descriptor in descriptors[:3]:
            os.close(descriptor)
        status = socket.socket(fileno=descriptors[3])
        status.send(str(pid).encode())
        ended = os.pidfd_open(pid)
        self._running[ended] = pid, status
        self._selector.register(ended, selectors.EVENT_READ)
        return False

    def _tell_end(self, ended: int) -> None:
        pid, status = self._running.pop(ended)
        self._selector.unregister(ended)
        os.close(ended)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with contextlib.suppress(OSError), status:  # nobody waits for it
            status.send(str(code).encode())

    def _become(self, data: bytes, descriptors: Sequence[int]) -> None:
        """Take on what the copy has of its own, and let go of what it has not."""
        self._selector.close()
        self._asked.close()
        for ended, (_, status) in self._running.items():
            os.close(ended)
            status.close()
        for number, descriptor in enumerate(descriptors):
            if number < 3:
                os.dup2(descriptor, number)
            os.close(descriptor)
        arguments, folder, environment, controlled = json.loads(data)
        if controlled:
            import fcntl
            import termios

            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            # It is ignored in processes that a shell runs in the background, and in theirs.
            signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(folder)
        sys.path[1:1] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = [str(Path(sys.executable).with_name("callboard")), *arguments]
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - open until the end
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", 1, errors="backslashreplace", closefd=False)  # noqa: SIM115


def _imports() -> None:
    """Import what the program imports later."""
    import callboard_service.cli
    import callboard_service.serve
    import callboard_service.terminal.chat
    import callboard_service.terminal.sessions
    import callboard_service.terminal.status  # noqa: F401


if __name__ == "__main__":
    sys.path[0] = str(Path(sys.executable).parent)
    _imports()
    gc.freeze()  # a collection in a copy would make it copy all pages
    if Maker(socket.socket(fileno=int(sys.argv[1]))).serve():
        from callboard_service.entry import main

        main()
