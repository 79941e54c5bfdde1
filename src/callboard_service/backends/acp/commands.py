"""The commands that an agent offers: a message may begin with one. No I/O."""

from typing import Final

from callboard.v1.chat_pb2 import Command, CommandList
from callboard_service.backends.fields import Table, name, table, tables, text

MAX_COMMANDS: Final = 1000
MAX_DESCRIPTION: Final = 1000
"""Characters of a description."""


def commands_of(params: Table) -> CommandList | None:
    """Return the commands of a `session/update`; None if it tells of something else."""
    update = table(params, "update")
    if text(update, "sessionUpdate") != "available_commands_update":
        return None
    commands = [
        Command(
            name=named,
            description=text(one, "description")[:MAX_DESCRIPTION],
            hint=text(table(one, "input"), "hint")[:MAX_DESCRIPTION],
        )
        for one in tables(update, "availableCommands")[:MAX_COMMANDS]
        if (named := name(one, "name").removeprefix("/"))
    ]
    return CommandList(commands=commands)
