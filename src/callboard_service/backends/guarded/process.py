"""Run a program under its guardian: the service's side (see `guardian`).

The program's standard input and output are the pipes of this process; the guardian only passes them
on. It ends every process that the program leaves, also when this process is killed.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from actors import Code, Failure
from callboard_service.backends.guarded.pipes import GRACE, GuardedPipes, GuardianLine
from callboard_service.backends.redaction import redacted
from callboard_service.launch import find_program, python_script

GUARDIAN: Final = "guardian_windows.py" if sys.platform == "win32" else "guardian.py"
"""The guardian's program, in the folder of this module."""

PATIENCE: Final = 8.0
"""Seconds that a program has to end after its standard input was closed."""

SETTLE: Final = 0.1
"""Seconds for which a start waits, to report a program that ends at once."""

LAST_OUTPUT: Final = 0.25
"""Seconds that the program's output has to end after the program, if its tools hold it open."""


_KILLERS: Final = {number.value: number.name for number in signal.Signals}


class GuardedProcess:
    """A running agent, started by its guardian."""

    def __init__(
        self,
        received: Callable[[bytes], None],
        ended: Callable[[str], None],
        report: Callable[[str], None],
        called: str,
        *,
        merged: bool,
        one_pipe: bool,
    ) -> None:
        """Take the callbacks; use `start` instead."""
        self._called = called
        self._errors = subprocess.STDOUT if one_pipe else subprocess.PIPE
        self._ended = ended
        self._telling = False
        self._pipes = GuardedPipes(received, merged=merged, one_pipe=one_pipe)
        self._guardian = GuardianLine(report, called)
        self._life: asyncio.Task[None] | None = None
        self._reason: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """What is known once the program has ended."""
        self.status: int | None = None
        """The exit code of the program, or minus its signal; None: it runs, or nobody knows."""

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        directory: Path,
        environment: Mapping[str, str],
        *,
        received: Callable[[bytes], None],
        ended: Callable[[str], None],
        report: Callable[[str], None],
        settle: float = SETTLE,
        called: str = "the agent",
        merged: bool = False,
        one_pipe: bool = False,
    ) -> "GuardedProcess":
        """Start the program and return it once its program runs.

        command: the program and its arguments; a bare name is looked up in the PATH of
        `environment`, which is all that the program gets.
        received: called with each piece of its standard output, as it comes.
        ended: called once when the program has ended, after the last piece of its output, with a
        clause that includes the end of its standard error. Its tools may run for up to two seconds
        more; `close` waits for them.
        report: called with sentences for the log.
        settle: seconds for which the start waits in case the program ends at once; 0: then `ended`
        is called instead, perhaps before this returns.
        called: what it is called in sentences. merged: whether `received` gets standard error too.
        one_pipe: whether standard error goes into standard output, which keeps their order.

        Neither `received` nor `ended` is called after a start that raises, or after `close`.
        Raises Failure if the program or the folder does not exist, or the program ends at once.
        """
        program = _find(command[0], directory, environment)
        process = cls(received, ended, report, called, merged=merged, one_pipe=one_pipe)
        await process.launch([program, *command[1:]], directory, environment, settle)
        return process

    async def launch(
        self,
        command: Sequence[str],
        directory: Path,
        environment: Mapping[str, str],
        settle: float,
    ) -> None:
        """Start the guardian, which starts the program. Used by `start`. Raises Failure."""
        try:
            await self._start_guardian(command, directory, environment)
            self._life = asyncio.create_task(self._watch())
            if sys.platform != "win32":
                await self._guardian.started
            await asyncio.wait({self._reason}, timeout=settle)
            if settle and self._reason.done():
                raise Failure(Code.UNAVAILABLE, f"{command[0]}: {self._reason.result()}")
        except OSError as error:
            self._guardian.close()
            text = f"{self._called} cannot be started: {error.strerror or error}"
            raise Failure(Code.FAILED_PRECONDITION, text) from None
        except BaseException:
            await self.close(patience=0)
            raise
        self._telling = True
        if self._reason.done():
            self._ended(self._reason.result())

    async def _start_guardian(
        self, command: Sequence[str], directory: Path, environment: Mapping[str, str]
    ) -> None:
        loop = asyncio.get_running_loop()
        program = Path(__file__).with_name(GUARDIAN)
        if sys.platform == "win32":
            run = python_script(str(program), str(os.getpid()))
            await loop.subprocess_exec(
                lambda: self._pipes, *run, *command, cwd=directory, env=environment,
                stderr=self._errors,
            )  # fmt: skip
            return
        ours, theirs = socket.socketpair()
        with theirs:
            await loop.create_unix_connection(lambda: self._guardian, sock=ours)
            run = python_script(str(program), str(theirs.fileno()))
            await loop.subprocess_exec(
                lambda: self._pipes, *run, *command, cwd=directory, env=environment,
                stderr=self._errors, pass_fds=(theirs.fileno(),), start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        """The program's process number; on Windows that of its guardian."""
        if sys.platform == "win32":
            return self._pipes.transport.get_pid()
        return self._guardian.started.result()

    def write(self, data: bytes) -> None:
        """Buffer the data and send it as the program reads. It is lost if the program has ended."""
        self._pipes.write(data)

    async def drained(self) -> None:
        """Wait while more than 1 MiB is unsent and the program may still read it."""
        await self._pipes.writable.wait()

    async def close(self, *, patience: float = PATIENCE, grace: float = GRACE) -> None:
        """End the program and every process that it left; return when none is left.

        Its standard input is closed, and it has `patience` seconds to end by itself; then all of
        its processes get SIGTERM, and `grace` seconds later SIGKILL. Further calls wait for the
        same end, and may shorten the patience. If the caller is cancelled, the end goes on.
        """
        self._telling, self._pipes.received = False, None
        if self._life is None:
            self._guardian.close()
            return
        self.end(patience=patience, grace=grace)
        await asyncio.shield(self._life)

    def end(self, *, patience: float, grace: float = GRACE) -> None:
        """Begin to end the program as `close` does; its last output and its end are still told."""
        self._pipes.close_input()
        if sys.platform == "win32":
            asyncio.get_running_loop().call_later(patience, self._kill_guardian)
        else:
            self._guardian.end(patience, grace)

    def close_input(self) -> None:
        """Close the program's standard input, once what was written was sent."""
        self._pipes.close_input()

    def _kill_guardian(self) -> None:
        if not self._pipes.exited.is_set():
            self._pipes.transport.kill()

    async def _watch(self) -> None:
        """Wait for the end of the program, say why it ended, and wait for its guardian's end."""
        self.status = await self._status()
        reason = _describe(self._called, self.status)
        # A tool that still runs may hold the pipes.
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_OUTPUT):
                await self._pipes.finished.wait()
        self._pipes.received = None
        if printed := redacted(self._pipes.printed):
            reason = f"{reason}: {printed}"
        self._reason.set_result(reason)
        if self._telling:
            self._ended(reason)
        await self._pipes.exited.wait()
        if sys.platform != "win32":
            await self._guardian.lost.wait()
        self._pipes.close()
        self._guardian.close()

    async def _status(self) -> int | None:
        if sys.platform == "win32":
            await self._pipes.exited.wait()
            return self._pipes.transport.get_returncode()
        return await self._guardian.ended


def _find(program: str, directory: Path, environment: Mapping[str, str]) -> str:
    """Return the path of the program. Raises Failure if it or the folder does not exist."""
    found = find_program(program, environment)
    if found is None:
        text = f"the program {program!r} was not found, or cannot be run"
        raise Failure(Code.FAILED_PRECONDITION, text)
    if not directory.is_dir():
        raise Failure(Code.FAILED_PRECONDITION, f"the folder {directory} does not exist")
    return found


def _describe(called: str, status: int | None) -> str:
    if status is None:
        return f"the guardian of {called} was killed"
    if status < 0:
        return f"{called} was killed by {_KILLERS.get(-status, f'signal {-status}')}"
    return f"{called} ended with exit code {status}"
