"""The commands of OpenCode: a message that begins with the name of one runs it. No I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from callboard.v1.chat_pb2 import CommandList
from callboard_service.backends.fields import Table, name, text, texts

MAX_COMMANDS: Final = 1000
MAX_DESCRIPTION: Final = 1000
"""Commands that are listed, and characters of the description of each."""

_BEGIN: Final = "/"
_HINTS: Final = {"$ARGUMENTS": "arguments"}


@dataclass(frozen=True, slots=True)
class Called:
    """A command with its argument."""

    name: str
    argument: str


def may_call(said: str) -> bool:
    """Return whether a message has the form of a call of a command."""
    return said.startswith(_BEGIN)


def called(said: str, commands: Sequence[Table]) -> Called | None:
    """Return the command that a message calls; None if it calls none."""
    words = said.split(maxsplit=1)
    if not may_call(said) or words[0] == _BEGIN:
        return None
    wanted = words[0].removeprefix(_BEGIN)
    if not any(name(command, "name") == wanted for command in commands):
        return None
    return Called(wanted, words[1] if len(words) > 1 else "")


def command_list(commands: Sequence[Table]) -> CommandList:
    """Return the commands as clients see them."""
    found = CommandList()
    for command in commands[:MAX_COMMANDS]:
        if title := name(command, "name"):
            hints = [_HINTS.get(hint, hint) for hint in texts(command.get("hints"))]
            description = text(command, "description")[:MAX_DESCRIPTION]
            found.commands.add(name=title, description=description, hint=" ".join(hints))
    return found
