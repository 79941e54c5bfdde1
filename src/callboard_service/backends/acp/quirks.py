"""What is special about the agents that are known; an unknown agent has no quirks.

Each was observed with the version named in `docs/agents.md`. Everything that can be noticed by
itself is done for all agents and is no quirk.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Quirks:
    """The quirks of one agent.

    new_id_restarts: text with another messageId repeats what was said since the last tool call.
    ends_to_cancel: `session/cancel` does not stop it, and makes its session useless; its process
    is ended instead. own_texts: it sends texts of its own, marked with this `_meta.source`, as if
    they were answers. never_asks: it runs commands without asking.
    """

    new_id_restarts: bool = False
    ends_to_cancel: bool = False
    own_texts: str = ""
    never_asks: bool = False


NO_QUIRKS: Final = Quirks()

_KNOWN: Final = {
    "codex": Quirks(new_id_restarts=True),
    "fast-agent": Quirks(never_asks=True),
    "gptme": Quirks(ends_to_cancel=True, own_texts="gptme", never_asks=True),
}


def quirks_of(agent_name: str) -> Quirks:
    """Return the quirks of an agent by the name that it gives itself in `agentInfo`."""
    lowered = agent_name.lower()
    return next((quirks for name, quirks in _KNOWN.items() if name in lowered), NO_QUIRKS)
