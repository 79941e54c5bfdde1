"""Puts `callboard agents` together: what the backend finds out, as the terminal shows it."""

import asyncio
import shlex
import sys
from collections.abc import Sequence

from callboard_service.backends.acp.known import MEANING, KnownAgent, known_agents
from callboard_service.backends.acp.survey import Finding, survey
from callboard_service.errors import BadSettings
from callboard_service.terminal.agents import AgentRow, State, show
from callboard_service.terminal.exits import Exit, drop_unwritable_output


def list_agents(names: Sequence[str], *, as_json: bool, start: bool) -> int:
    """Print the known agents, or everything about those that are named; return the exit code.

    start: whether to start the agents that are installed. Raises BadSettings if a name is unknown
    or the user's table is invalid.
    """
    known = known_agents()
    unknown = [name for name in names if name not in known]
    if unknown:
        raise BadSettings(f"no agent is called {unknown[0]!r}; known are {', '.join(known)}")
    chosen = {name: known[name] for name in names or known}
    try:
        findings = asyncio.run(survey(chosen, lambda _: None, start=start))
        rows = [_row(name, chosen[name], findings[name], start=start) for name in chosen]
        show(rows, as_json=as_json, details=bool(names))
        sys.stdout.flush()
    except BrokenPipeError:
        drop_unwritable_output()
        return Exit.PIPE_CLOSED
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    return Exit.DONE


def _row(name: str, known: KnownAgent, found: Finding, *, start: bool) -> AgentRow:
    state: State = "ready" if start else "installed"
    if not found.installed:
        state = "not installed"
    elif found.trouble:
        state = "log in first" if found.login else "not usable"
    return AgentRow(
        name=name,
        title=known.title or name,
        command=shlex.join(known.command),
        install=known.install,
        state=state,
        version=found.version,
        trouble=found.trouble,
        asks=known.asks,
        permission=known.permission,
        abilities=found.abilities,
        tried=known.tried,
        silence=known.silence,
        quirks=[MEANING[quirk] for quirk in known.quirks],
    )
