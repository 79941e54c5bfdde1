"""Find out which agents are installed, whether they start, and what they can do.

An agent is really started: it is introduced to this client, and begins a session in a temporary
folder. No prompt is sent, so no model is asked.
"""

import asyncio
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from actors import Code, Failure
from callboard_service.backends.acp.connection import Connection, Process, Refused
from callboard_service.backends.acp.environment import agent_environment
from callboard_service.backends.acp.jsonrpc import Notification, Request
from callboard_service.backends.acp.known import KnownAgent
from callboard_service.backends.acp.options import choices_of
from callboard_service.backends.acp.sessions import (
    AgentInfo,
    begin_session,
    introduce,
)
from callboard_service.backends.fields import Table, table, tables, text
from callboard_service.backends.guarded.process import GuardedProcess
from callboard_service.launch import find_program

START_TIMEOUT: Final = 60.0
"""Seconds for each call to an agent that starts."""

CALL_TIMEOUT: Final = 10.0
PATIENCE: Final = 1.0
"""Seconds that an agent has to end by itself; nothing is lost if it does not."""

AT_ONCE: Final = 2
"""Agents that start at once: each takes a core while it starts."""

MAX_ABILITIES: Final = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found out about one agent.

    installed: whether its program was found. trouble: why it cannot be used; empty if it can, or
    was not started. login: whether that is because somebody must log in first. version, abilities:
    as it says itself, for a person.
    """

    installed: bool
    trouble: str = ""
    login: bool = False
    version: str = ""
    abilities: tuple[str, ...] = ()


NOT_INSTALLED: Final = Finding(installed=False)
INSTALLED: Final = Finding(installed=True)


async def survey(
    agents: Mapping[str, KnownAgent], report: Callable[[str], None], *, start: bool
) -> dict[str, Finding]:
    """Return what was found out about each of these agents.

    report: called with sentences for the log. start: whether to start those that are installed.
    """
    places = asyncio.Semaphore(AT_ONCE)

    async def look(known: KnownAgent) -> Finding:
        environment = agent_environment(known.variables)
        if find_program(known.command[0], environment) is None:
            return NOT_INSTALLED
        if not start:
            return INSTALLED
        async with places:
            return await ask(known.command, environment, report)

    findings = await asyncio.gather(*(look(known) for known in agents.values()))
    return dict(zip(agents, findings, strict=True))


async def ask(
    command: Sequence[str],
    environment: Mapping[str, str],
    report: Callable[[str], None],
    seconds: float = START_TIMEOUT,
) -> Finding:
    """Start an agent, ask what it can do, and end it. seconds: for each call that starts it."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        place = Path(folder)

        async def start(received: Callable[[bytes], None], ended: Callable[[str], None]) -> Process:
            return await GuardedProcess.start(
                command, place, environment, received=received, ended=ended, report=report
            )

        connection = Connection(Deaf())
        info: AgentInfo | None = None
        try:
            await connection.open(start)
            info = await introduce(connection, seconds)
            session = await begin_session(connection, info, place, "", seconds)
            await _forget(connection, info, session.id)
        except Failure as failure:
            return Finding(
                installed=True,
                trouble=failure.message,
                login=failure.code is Code.UNAUTHENTICATED,
                version="" if info is None else info.version,
            )
        finally:
            await connection.close(patience=PATIENCE)
        return Finding(
            installed=True, version=info.version, abilities=_abilities(info, session.state)
        )


async def _forget(connection: Connection, info: AgentInfo, session_id: str) -> None:
    """Delete the session, if the agent can, so that it does not show up in the agent's list."""
    if "delete" in table(info.capabilities, "sessionCapabilities"):
        with suppress(Refused):  # an empty session may not have been stored
            await connection.call("session/delete", {"sessionId": session_id}, CALL_TIMEOUT)


def _abilities(info: AgentInfo, state: Table) -> tuple[str, ...]:
    """Return what the agent says of itself and of its new session."""
    sessions = table(info.capabilities, "sessionCapabilities")
    prompts = table(info.capabilities, "promptCapabilities")
    found = [
        ("loads sessions", bool(info.loading)),
        ("copies sessions", "fork" in sessions),
        ("takes images", prompts.get("image") is True),
    ]
    return (*(words for words, can in found if can), *_choices(state))[:MAX_ABILITIES]


def _choices(state: Table) -> list[str]:
    """Return the session's modes by their ids, and how many models it has."""
    options = {text(option, "category"): option for option in tables(state, "configOptions")}
    modes = [text(mode, "id") for mode in tables(table(state, "modes"), "availableModes")]
    models = len(tables(table(state, "models"), "availableModels"))
    if "mode" in options:
        modes = [text(choice, "value") for choice in choices_of(options["mode"])]
    if "model" in options:
        models = len(choices_of(options["model"]))
    found = [f"modes: {', '.join(modes)}"] if modes else []
    return [*found, f"{models} models"] if models > 1 else found


class Deaf:
    """Takes what an agent sends without being asked, and does nothing with it."""

    def requested(self, request: Request) -> bool:
        """Take a request: it is refused."""
        return False

    def notified(self, notification: Notification) -> None:
        """Ignore a notification."""

    def ended(self, failure: Failure) -> None:
        """Ignore the end of the process."""
