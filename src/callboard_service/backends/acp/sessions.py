"""An agent's session for one conversation: begin it or load it, and set its mode."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from actors import Code, Failure
from callboard_service import __version__
from callboard_service.backends.acp.connection import Connection, Refused
from callboard_service.backends.acp.failures import LOGIN, login_needed
from callboard_service.backends.fields import Table, table, tables, text

PROTOCOL: Final = 1
"""The version of ACP; others are not asked for, because some agents repeat any number."""

CLIENT: Final[Table] = {
    "protocolVersion": PROTOCOL,
    "clientCapabilities": {
        "fs": {"readTextFile": False, "writeTextFile": False},
        "terminal": False,
        "session": {"configOptions": {"boolean": {}}, "notices": {}},
    },
    "clientInfo": {"name": "callboard", "title": "Callboard", "version": __version__},
}


@dataclass(frozen=True, slots=True)
class AgentInfo:
    """What an agent says of itself; what it does not say is empty."""

    name: str
    version: str
    capabilities: Table
    login: list[Table]

    @property
    def loading(self) -> str:
        """The method that continues a session in a new process; empty: none does."""
        if self.capabilities.get("loadSession") is True:
            return "session/load"
        sessions = table(self.capabilities, "sessionCapabilities")
        return "session/resume" if isinstance(sessions.get("resume"), dict) else ""


@dataclass(frozen=True, slots=True)
class AgentSession:
    """A session that has begun. continued: it is the one that was asked for."""

    id: str
    continued: bool
    state: Table
    """The result of the call that began it: its modes, models and options."""


async def introduce(connection: Connection, seconds: float) -> AgentInfo:
    """Send `initialize` and return what the agent is. Raises Failure."""
    try:
        answer = await connection.call("initialize", CLIENT, seconds)
    except Refused as refused:
        raise refused.failure from None
    if answer.get("protocolVersion", PROTOCOL) != PROTOCOL:
        spoken = str(answer["protocolVersion"])[:20]
        message = f"the agent speaks version {spoken} of ACP, and only {PROTOCOL} is supported"
        raise Failure(Code.FAILED_PRECONDITION, message)
    info = table(answer, "agentInfo")
    return AgentInfo(
        name=text(info, "name")[:100],
        version=text(info, "version")[:100],
        capabilities=table(answer, "agentCapabilities"),
        login=tables(answer, "authMethods"),
    )


async def begin_session(
    connection: Connection, info: AgentInfo, directory: Path, known: str, seconds: float
) -> AgentSession:
    """Continue the session `known`, if the agent can, or begin a new one. Raises Failure.

    The agent repeats the conversation while it loads a session; the caller drops these updates.
    """
    place = {"cwd": str(directory), "mcpServers": []}
    if known and info.loading:
        try:
            state = await connection.call(info.loading, {"sessionId": known, **place}, seconds)
        except Refused:
            pass  # it has lost the session, or never kept it
        else:
            return AgentSession(known, continued=True, state=state)
    try:
        state = await connection.call("session/new", place, seconds)
    except Refused as refused:
        if refused.error.code == LOGIN:
            raise login_needed(info.login) from None
        raise refused.failure from None
    session_id = text(state, "sessionId")
    if not session_id:
        raise Failure(Code.UNAVAILABLE, "the agent began a session without an id")
    return AgentSession(session_id, continued=False, state=state)


async def set_mode(
    connection: Connection, session: AgentSession, mode: str, seconds: float
) -> None:
    """Set the session's mode and check that it is set. Raises Failure.

    Agents answer `{}` also for modes that they do not have, so the mode must be one that they
    offer.
    """
    option = mode_option(session.state)
    if option is not None:
        _check_offered(mode, [text(choice, "value") for choice in choices_of(option)])
        if text(option, "currentValue") == mode:
            return
        params = {"sessionId": session.id, "configId": text(option, "id"), "value": mode}
        state = await _set(connection, "session/set_config_option", params, seconds)
        changed = mode_option(state)
        if changed is None or text(changed, "currentValue") != mode:
            raise Failure(Code.FAILED_PRECONDITION, f"the agent did not take the mode {mode!r}")
        return
    modes = table(session.state, "modes")
    offered = [text(one, "id") for one in tables(modes, "availableModes")]
    if offered or not session.continued:  # some agents do not list them again
        _check_offered(mode, offered)
    if text(modes, "currentModeId") != mode:
        await _set(
            connection, "session/set_mode", {"sessionId": session.id, "modeId": mode}, seconds
        )


def mode_option(state: Table) -> Table | None:
    """Return the option that is the session's mode; None if there is none."""
    options = tables(state, "configOptions")
    return next((one for one in options if text(one, "category") == "mode"), None)


def choices_of(option: Table) -> list[Table]:
    """Return the choices of an option, also those that are in groups."""
    choices: list[Table] = []
    for choice in tables(option, "options"):
        choices += tables(choice, "options") if "options" in choice else [choice]
    return choices


def _check_offered(mode: str, offered: list[str]) -> None:
    if mode not in offered:
        known = ", ".join(offered[:20]) or "it has none"
        message = f"the agent has no mode {mode[:80]!r} (acp_mode); its modes: {known[:500]}"
        raise Failure(Code.FAILED_PRECONDITION, message)


async def _set(connection: Connection, method: str, params: Table, seconds: float) -> Table:
    try:
        return await connection.call(method, params, seconds)
    except Refused as refused:
        raise refused.failure from None
