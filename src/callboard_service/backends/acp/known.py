"""The known agents: the table that is shipped, and what the user adds to it.

The rules of the backend hold for unknown agents too; the table says how to start an agent, and
which of them a person should know about.
"""

import os
from collections.abc import Mapping
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Final, Literal

import msgspec

from callboard_service.errors import BadSettings
from callboard_service.setting_files import read, user_file

FILE: Final = "agents.toml"
"""The user's own table, beside the user's `callboard.toml`. There is none in a working folder."""

Asks = Literal["yes", "mode", "configured", "no", "unknown"]
"""Whether an agent asks before it runs a command: always, in some modes, if it is configured to."""


class Quirk(StrEnum):
    """What is special about an agent; the text is for a person."""

    COMPLETED_MAY_BE_FAILED = "completed_may_be_failed"
    DROPS_REPEATS = "drops_repeats"
    EMPTY_TURN_ON_ERRORS = "empty_turn_on_errors"
    ENDS_TO_CANCEL = "ends_to_cancel"
    FORGETS = "forgets"
    NEW_ID_RESTARTS = "new_id_restarts"
    ONE_CONVERSATION = "one_conversation"
    REPEATS_TEXT = "repeats_text"


MEANING: Final[Mapping[Quirk, str]] = {
    Quirk.COMPLETED_MAY_BE_FAILED: "It reports some failed tool calls as completed.",
    Quirk.DROPS_REPEATS: "It loses text that repeats the beginning of its answer.",
    Quirk.EMPTY_TURN_ON_ERRORS: "It may end a turn with nothing when its model server fails.",
    Quirk.ENDS_TO_CANCEL: "A stop ends its process, because it does not stop otherwise.",
    Quirk.FORGETS: "It forgets a session with its process, whatever it says.",
    Quirk.NEW_ID_RESTARTS: "It sends a text again from its beginning when its server fails.",
    Quirk.ONE_CONVERSATION: "It has one conversation for each folder.",
    Quirk.REPEATS_TEXT: "It may send a text twice when its model server fails.",
}


class KnownAgent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One agent of the table; `known_agents.toml` describes the fields."""

    command: tuple[str, ...]
    title: str = ""
    install: str = ""
    tried: str = ""
    variables: tuple[str, ...] = ()
    asks: Asks = "unknown"
    permission: str = ""
    silence: float = 0.0
    shares: bool = False
    quirks: tuple[Quirk, ...] = ()


def known_agents() -> dict[str, KnownAgent]:
    """Return the known agents by their names, the user's own last. Raises BadSettings."""
    own = user_file().with_name(FILE)
    shipped = files(__package__).joinpath("known_agents.toml")
    table = read(Path(str(shipped)))
    if own.is_absolute():  # a relative path would be in the working folder
        for name, entry in read(own).items():
            table[name] = _merged(own, name, table.get(name), entry)
    return {name: _agent(own, name, entry) for name, entry in table.items()}


def _merged(path: Path, name: str, shipped: object, entry: object) -> object:
    if not isinstance(entry, dict):
        raise BadSettings(f"{path}: {name} must be a table: [{name}]")
    return (shipped if isinstance(shipped, dict) else {}) | entry


def _agent(path: Path, name: str, entry: object) -> KnownAgent:
    """Return a checked entry. A fault can only be one of the user's file, `path`."""
    try:
        agent = msgspec.convert(entry, KnownAgent)
    except msgspec.ValidationError as error:
        raise BadSettings(f"{path}: {name}: {error}") from None
    if not agent.command or not agent.command[0]:
        raise BadSettings(f"{path}: {name}: command must name a program")
    program = agent.command[0]
    if os.path.dirname(program) and not os.path.isabs(program):
        raise BadSettings(f"{path}: {name}: the file applies in every folder; use an absolute path")
    return agent
