"""Which known agent an agent is, and what is special about it. An unknown agent has no quirks."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Final

from callboard_service.backends.acp.known import KnownAgent, Quirk
from callboard_service.backends.fields import Table, table, text

_ENDINGS: Final = (".exe", ".cmd", ".bat")
_NOT_THE_MODEL: Final = ("gptme",)
"""What agents write into `_meta.source` of texts that are not the model's, such as a banner."""


def agent_of_command(known: Mapping[str, KnownAgent], program: str) -> KnownAgent | None:
    """Return the known agent with this program; None if there is none."""
    name = _program(program)
    return next((agent for agent in known.values() if _program(agent.command[0]) == name), None)


def agent_of_name(known: Mapping[str, KnownAgent], name: str) -> KnownAgent | None:
    """Return the known agent that calls itself `name` in agentInfo; None if there is none."""
    lowered = name.lower()
    return next((agent for key, agent in known.items() if key in lowered), None)


def quirks_of(agent: KnownAgent | None) -> frozenset[Quirk]:
    """Return the quirks of an agent; none of an unknown one."""
    return frozenset() if agent is None else frozenset(agent.quirks)


def is_of_agent(params: Table) -> bool:
    """Return whether a `session/update` has a text of the agent itself, and not of its model."""
    return text(table(params, "_meta"), "source") in _NOT_THE_MODEL


def _program(path: str) -> str:
    name = PurePath(path).name.lower()
    return next((name.removesuffix(end) for end in _ENDINGS if name.endswith(end)), name)
