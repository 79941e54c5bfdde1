"""The terminals of a conversation: commands that the service runs for its agent.

A terminal is a command, its output and how it ended; there is no screen, and nothing to type into.
Each command has a guardian, which ends every process that it leaves.
"""

import asyncio
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from secrets import token_hex
from typing import Final

from actors import Failure
from callboard_service.backends.acp.jsonrpc import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    NOT_FOUND,
    Unserved,
)
from callboard_service.backends.acp.output_tail import OutputTail
from callboard_service.backends.acp.terminal_commands import (
    MAX_OUTPUT,
    TerminalCommand,
    command_of,
)
from callboard_service.backends.fields import Table, text
from callboard_service.backends.guarded.process import GuardedProcess
from callboard_service.launch import own_environment

MAX_TERMINALS: Final = 16
"""Terminals of one conversation; beyond, the oldest one whose command has ended is forgotten."""

SHOWN: Final = 64 * 1024
"""Bytes of output that are shown while a command runs; the rest is shown once it has ended."""

GRACE: Final = 1.0
"""Seconds between SIGTERM and SIGKILL for the processes of a command."""


class Terminal:
    """A command that runs, or has run. changed: is called when there is more to be shown."""

    def __init__(self, command: TerminalCommand, changed: Callable[[], None]) -> None:
        self._command = command
        self._changed = changed
        self._output = OutputTail(MAX_OUTPUT)
        self._process: GuardedProcess | None = None
        self._ended = asyncio.Event()
        self._killed = False

    @property
    def ended(self) -> bool:
        """Whether its command has ended."""
        return self._ended.is_set()

    async def start(self, environment: Mapping[str, str], report: Callable[[str], None]) -> None:
        """Run the command. Raises Failure. Its standard input is empty."""
        self._process = await GuardedProcess.start(
            self._command.arguments,
            self._command.directory,
            environment,
            received=self._received,
            ended=self._end,
            report=report,
            settle=0,
            called="a command of the agent",
            one_pipe=True,
        )
        self._process.close_input()
        if self._killed:
            self.kill()

    def printed(self) -> str:
        """Return the newest MAX_OUTPUT bytes of the output so far, for a person."""
        return self._output.text(MAX_OUTPUT, whole=self.ended)[0]

    def output(self) -> Table:
        """Answer `terminal/output`."""
        said, truncated = self._output.text(self._command.limit, whole=self.ended)
        status: Table = {"exitStatus": self.exit()} if self.ended else {}
        return {"output": said, "truncated": truncated, **status}

    def exit(self) -> Table:
        """Return how the command ended."""
        status = None if self._process is None else self._process.status
        if status is None:
            return {"exitCode": None, "signal": None}
        if status < 0:
            return {"exitCode": None, "signal": _name(-status)}
        return {"exitCode": status, "signal": None}

    async def wait(self) -> Table:
        """Answer `terminal/wait_for_exit`, once the command has ended."""
        await self._ended.wait()
        return self.exit()

    def kill(self) -> None:
        """Begin to end the command and every process that it has started."""
        self._killed = True
        if self._process is not None:
            self._process.end(patience=0, grace=GRACE)

    async def close(self) -> None:
        """End the command, and wait until no process of it is left. Its last output is lost."""
        self.kill()
        if self._process is not None:
            await self._process.close(patience=0, grace=GRACE)
        self._ended.set()

    def _received(self, data: bytes) -> None:
        self._output.add(data)
        if self._output.total <= SHOWN:
            self._changed()

    def _end(self, reason: str) -> None:
        self._ended.set()
        self._changed()


class ClientTerminals:
    """The terminals of one conversation.

    folder: where commands may run. environment: of the agent. report: called with sentences for
    the log.
    """

    def __init__(
        self, folder: Path, environment: Mapping[str, str], report: Callable[[str], None]
    ) -> None:
        self._folder = folder
        self._environment = environment
        self._report = report
        self._terminals: dict[str, Terminal] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def command(self, params: Table) -> tuple[TerminalCommand, str | None]:
        """Return the command of a `terminal/create`, and the line that it is in a shell.

        The line is that of the conversation's folder; None: it is more than that. Blocks. Raises
        Unserved.
        """
        try:
            folder = self._folder.resolve(strict=True)
        except (OSError, RuntimeError):
            raise Unserved(INTERNAL_ERROR, f"there is no folder {self._folder}") from None
        command = command_of(params, folder, self._environment)
        return command, command.line_in(folder)

    async def create(self, command: TerminalCommand, changed: Callable[[str], None]) -> Table:
        """Run a command; answer `terminal/create`. Raises Unserved.

        changed: is called with the id of the terminal when there is more to be shown.
        """
        self._make_room()
        terminal_id = token_hex(8)
        terminal = Terminal(command, lambda: changed(terminal_id))
        self._terminals[terminal_id] = terminal
        environment = own_environment({**self._environment, **command.variables})
        try:
            await terminal.start(environment, self._report)
        except Failure as failure:
            del self._terminals[terminal_id]
            raise Unserved(INVALID_PARAMS, failure.message) from None
        return {"terminalId": terminal_id}

    def find(self, params: Table) -> Terminal:
        """Return the terminal that a request names. Raises Unserved."""
        terminal = self._terminals.get(text(params, "terminalId"))
        if terminal is None:
            raise Unserved(NOT_FOUND, "there is no such terminal")
        return terminal

    def printed(self, terminal_id: str) -> str:
        """Return the output of a terminal so far; empty if there is no such terminal."""
        terminal = self._terminals.get(terminal_id)
        return "" if terminal is None else terminal.printed()

    def release(self, params: Table) -> Table:
        """Answer `terminal/release`: end the command, and forget its terminal. Raises Unserved."""
        self.find(params)
        self._forget(text(params, "terminalId"))
        return {}

    def kill(self) -> None:
        """Begin to end all commands; their terminals stay readable."""
        for terminal in self._terminals.values():
            terminal.kill()

    async def settle(self) -> None:
        """Wait until no process of a command is left, once all commands were killed."""
        for terminal in list(self._terminals.values()):
            await terminal.wait()
            await terminal.close()

    async def close(self) -> None:
        """End all commands and forget their terminals; wait until no process is left."""
        for terminal_id in list(self._terminals):
            self._forget(terminal_id)
        if self._closing:
            await asyncio.wait(self._closing)

    def _forget(self, terminal_id: str) -> None:
        task = asyncio.create_task(self._terminals.pop(terminal_id).close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _make_room(self) -> None:
        if len(self._terminals) < MAX_TERMINALS:
            return
        ended = next((key for key, one in self._terminals.items() if one.ended), None)
        if ended is None:
            raise Unserved(INTERNAL_ERROR, f"more than {MAX_TERMINALS} commands run")
        self._forget(ended)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
