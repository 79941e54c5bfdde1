"""The command that an agent wants to run in a terminal of the service."""

import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

from callboard_service.backends.acp.jsonrpc import INVALID_PARAMS, Unserved
from callboard_service.backends.fields import Table, as_table, raw_text
from callboard_service.launch import find_program, own_environment

MAX_OUTPUT: Final = 1024 * 1024
"""Bytes of a terminal's output that are kept, and given to an agent that names no limit."""

MAX_WORDS: Final = 10_000
"""Arguments and variables of one command."""

_SHELLS: Final = ("sh", "bash", "dash", "zsh")
_SYSTEM: Final = ("", "/bin", "/usr/bin")
_QUIET: Final = {"NO_COLOR": "1", "TERM": "dumb", "GIT_TERMINAL_PROMPT": "0"}
"""Variables that change nothing about what a command does."""

_IN_A_SHELL: Final = re.compile(r"[\s;&|<>()$`\"'*?\\~#]")


@dataclass(frozen=True, slots=True)
class TerminalCommand:
    """A command, as it is shown to a person and then run.

    arguments: the program and its arguments. directory: where it runs; resolved. variables: those
    that it gets besides the agent's. limit: bytes of its output that the agent wants.
    """

    arguments: Sequence[str]
    directory: Path
    variables: Mapping[str, str]
    limit: int

    @property
    def shown(self) -> str:
        """The variables and the command, as in a shell."""
        variables = (f"{name}={shlex.quote(value)}" for name, value in self.variables.items())
        return " ".join([*variables, shlex.join(self.arguments)])

    def line_in(self, folder: Path) -> str | None:
        """Return the line that a usual shell runs in this folder; None if the command does more.

        A person who has allowed that line there has seen all that the command does.
        """
        if len(self.arguments) != 3 or self.directory != folder:
            return None
        program, option, line = self.arguments
        path = PurePath(program)
        usual = path.name in _SHELLS and os.path.dirname(program) in _SYSTEM
        if not usual or option not in ("-c", "-lc"):
            return None
        harmless = {**_QUIET, "SHELL": program}
        if any(harmless.get(name) != value for name, value in self.variables.items()):
            return None
        for quoted in {shlex.quote(str(folder)), f"'{folder}'"}:
            if shlex.split(quoted) == [str(folder)]:
                line = line.removeprefix(f"cd {quoted} && ")
        return line


def command_of(params: Table, folder: Path, environment: Mapping[str, str]) -> TerminalCommand:
    """Return the command of a `terminal/create`. Blocks. Raises Unserved.

    folder: where it may run, and runs by default; resolved. environment: of the agent. A command
    without arguments that is no program is a line for a shell: some agents send that.
    """
    program, arguments = _word(params.get("command"), "command"), _arguments(params.get("args"))
    if not program:
        raise Unserved(INVALID_PARAMS, "there is no command")
    variables = _variables(params.get("env"))
    directory = _directory(params.get("cwd"), folder)
    path = os.path.join(directory, program) if os.path.dirname(program) else program
    words = [path, *arguments]
    may_be_a_line = not arguments and _IN_A_SHELL.search(program)
    if may_be_a_line and find_program(path, {**environment, **variables}) is None:
        words = _in_a_shell(program)
    return TerminalCommand(words, directory, variables, _limit(params.get("outputByteLimit")))


def _in_a_shell(line: str) -> list[str]:
    if sys.platform == "win32":
        raise Unserved(INVALID_PARAMS, "there is no shell; name a program and its arguments")
    return ["/bin/sh", "-c", line]


def _directory(named: object, folder: Path) -> Path:
    """Return where a command is to run, resolved: it is the folder, or in it. Raises Unserved."""
    if named is None:
        return folder
    path = _word(named, "cwd")
    if not os.path.isabs(path):
        raise Unserved(INVALID_PARAMS, "the cwd is not absolute")
    try:
        place = Path(path).resolve()
    except (OSError, RuntimeError):  # a loop of links
        raise Unserved(INVALID_PARAMS, "the cwd cannot be resolved") from None
    if not place.is_relative_to(folder):
        raise Unserved(INVALID_PARAMS, f"the cwd is not in {folder}")
    if not place.is_dir():
        raise Unserved(INVALID_PARAMS, "the cwd is no folder")
    return place


def _arguments(given: object) -> list[str]:
    if given is None:
        return []
    if not isinstance(given, list) or len(given) > MAX_WORDS:
        raise Unserved(INVALID_PARAMS, "the args are not a list of strings")
    return [_word(one, "args") for one in given]


def _variables(given: object) -> dict[str, str]:
    """Return the variables of a request by their names. Raises Unserved."""
    if given is None:
        return {}
    if not isinstance(given, list) or len(given) > MAX_WORDS:
        raise Unserved(INVALID_PARAMS, "the env is not a list of variables")
    variables: dict[str, str] = {}
    for one in given:
        name = _word(raw_text(as_table(one), "name"), "env")
        if not name or "=" in name or not own_environment({name: ""}):
            raise Unserved(INVALID_PARAMS, f"the variable {name[:80]!r} cannot be set")
        variables[name] = _word(as_table(one).get("value"), "env")
    return variables


def _limit(given: object) -> int:
    if given is None:
        return MAX_OUTPUT
    if isinstance(given, bool) or not isinstance(given, int) or given < 0:
        raise Unserved(INVALID_PARAMS, "the outputByteLimit is not a number of bytes")
    return min(given, MAX_OUTPUT)


def _word(value: object, what: str) -> str:
    """Return a string that can be given to a program. Raises Unserved."""
    if not isinstance(value, str) or "\0" in value:
        raise Unserved(INVALID_PARAMS, f"the {what} is not text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Unserved(INVALID_PARAMS, f"the {what} is not text") from None
    return value
