"""Run the OpenCode server as a child process: start it, check it, and restart it when it dies.

Child ─┬ OutputReader   reads the server's output
       └ Server         the actor through which the backend uses the server
"""

import asyncio
import re
import secrets
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Never

from actors import Actor, ActorRef, Code, Down, Exit, Failure, Lifecycle, Log, Restart
from callboard_service import launch
from callboard_service.backends.guarded.process import GuardedProcess
from callboard_service.backends.opencode.api import USER, Address, Api
from callboard_service.backends.opencode.server import Server
from callboard_service.errors import BackendFailed

START_TIMEOUT: Final = 120.0
"""Seconds within which the server must listen."""

STOP_TIMEOUT: Final = 3.0
"""Seconds that the server and its tools have to exit by themselves."""

PASSWORD_BYTES: Final = 32
INSTALL: Final = "npm install -g opencode-ai"

_READY: Final = re.compile(r"listening on (http://127\.0\.0\.1:\d+)/?\s*$")
_MAX_LINE: Final = 64 * 1024
_REMEMBERED: Final = 3


def find_program(command: str | None) -> str:
    """Return the absolute path of the program to run. Raises BackendFailed.

    The working folder is searched only if the command is a path into it.
    """
    found = launch.find_program(command or "opencode")
    if found is None:
        name = command or "opencode"
        raise BackendFailed(
            f"opencode: program {name!r} not found; run {INSTALL}, or set "
            "CALLBOARD_OPENCODE_COMMAND"
        )
    return found


@dataclass(frozen=True, slots=True)
class Died:
    """The process has ended."""


class ServerDied(Exception):
    """The process ended without being told to, or cannot be used any more."""


class OutputReader(Actor[Never]):
    """Reads and discards the process's output, so that the process never blocks on it."""

    def __init__(self, output: asyncio.StreamReader, owner: ActorRef[Died]) -> None:
        self._output = output
        self._owner = owner

    async def main(self) -> None:
        """Read to the end, then report that the process has ended."""
        while await self._output.read(_MAX_LINE):
            pass
        self._owner.tell(Died())

    def receive(self, message: Never) -> None:
        """Do nothing: this actor gets no messages."""


class Child(Actor[Died]):
    """The process. The actor that `make_server` makes is a child of this one and ends with it."""

    def __init__(
        self,
        program: str,
        directory: Path,
        log: Log,
        make_server: Callable[[Address], Server],
        start_timeout: float = START_TIMEOUT,
    ) -> None:
        self._program = program
        self._directory = directory
        self._log = log
        self._make_server = make_server
        self._start_timeout = start_timeout
        self._process: GuardedProcess | None = None

    async def started(self) -> None:
        """Start the process and wait until it can be used. Raises BackendFailed."""
        password = secrets.token_urlsafe(PASSWORD_BYTES)
        try:
            output, me = asyncio.StreamReader(_MAX_LINE), self.context.ref
            process = self._process = await self._launch(password, output)
            url = await self._listening(output)
            await refuse_open(url)
            address = Address(url, password)
            await self.context.start(
                lambda: self._make_server(address),
                name="server",
                lifecycle=Lifecycle(restart=Restart.TEMPORARY),
            )
        except BaseException:
            await self._end()
            raise
        self.context.spawn(
            lambda: OutputReader(output, me), name="output", lifecycle=Lifecycle(shutdown=0.0)
        )
        self._log.info("OpenCode started", pid=process.pid, url=url)

    async def _launch(self, password: str, output: asyncio.StreamReader) -> GuardedProcess:
        """Start the process, whose output can then be read. Raises BackendFailed."""
        port = str(free_port())

        def report(line: str) -> None:
            self._log.info(line)

        try:
            return await GuardedProcess.start(
                [self._program, "serve", "--hostname", "127.0.0.1", "--port", port],
                self._directory,
                environment(password),
                received=output.feed_data,
                ended=lambda _: output.feed_eof(),
                report=report,
                settle=0,
                called="the OpenCode server",
                merged=True,
            )
        except Failure as failure:
            raise BackendFailed(f"opencode: {self._program}: {failure.message}") from None

    async def _listening(self, output: asyncio.StreamReader) -> str:
        """Wait for the line with the server's URL and return it. Raises BackendFailed."""
        last: deque[str] = deque(maxlen=_REMEMBERED)
        try:
            async with asyncio.timeout(self._start_timeout):
                while line := await output.readline():
                    said = line.decode(errors="replace").strip()
                    if found := _READY.search(said):
                        return found[1]
                    last.append(said[:200])
        except TimeoutError:
            raise BackendFailed(
                f"opencode: {self._program} was not ready in time (opencode_start_ms)"
            ) from None
        except ValueError:
            raise BackendFailed(f"opencode: {self._program} is not OpenCode") from None
        reason = " ".join(filter(None, last)) or "it printed nothing"
        raise BackendFailed(f"opencode: {self._program} ended before it was ready: {reason}")

    def child_ended(self, down: Down) -> None:
        """Crash if the Server actor has crashed: its process may run, but cannot be used."""
        if down.exit is Exit.CRASHED:
            raise ServerDied("the OpenCode server is no longer usable") from down.error

    def receive(self, message: Died) -> None:
        """Crash, because the process has ended. Raises ServerDied."""
        raise ServerDied("the OpenCode server ended")

    async def stopped(self) -> None:
        """End the process."""
        await self._end()

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await process.close(patience=0, grace=STOP_TIMEOUT)


def environment(password: str) -> dict[str, str]:
    """Return the service's environment without its settings (and its token), plus the password."""
    return launch.own_environment() | {
        "OPENCODE_SERVER_PASSWORD": password,
        "OPENCODE_SERVER_USERNAME": USER,
    }


def free_port() -> int:
    """Return a free port; with port 0 the server would try 4096 first."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def refuse_open(url: str) -> None:
    """Raise BackendFailed if the server at `url` needs no password: it is not ours, or unsafe."""
    api = Api(Address(url))
    try:
        await api.version()
    except Failure as failure:
        if failure.code is Code.UNAUTHENTICATED:
            return
        raise BackendFailed(f"opencode: {url}: {failure.message}") from None
    finally:
        await api.close()
    raise BackendFailed(f"opencode: the server at {url} does not ask for the password")
