"""An agent's session for one conversation: begin it or load it, and set its options."""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from actors import Code, Failure
from callboard.v1.chat_pb2 import SessionOption
from callboard_service import __version__
from callboard_service.backends.acp.connection import Connection, Refused
from callboard_service.backends.acp.failures import LOGIN, login_needed
from callboard_service.backends.acp.methods import CREATE, READ, WRITE
from callboard_service.backends.acp.options import CONFIGURE, AgentOption, Options
from callboard_service.backends.fields import Table, table, tables, text

PROTOCOL: Final = 1
"""The version of ACP; others are not asked for, because some agents repeat any number."""


def client(served: Collection[str] = ()) -> Table:
    """Return what the service says of itself. served: the methods that the agent may call."""
    return {
        "protocolVersion": PROTOCOL,
        "clientCapabilities": {
            "fs": {
                "readTextFile": READ in served,
                "writeTextFile": WRITE in served,
            },
            "terminal": CREATE in served,
            "elicitation": {"form": {}, "url": {}},
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
        return "session/resume" if self.has("resume") else ""

    def has(self, ability: str) -> bool:
        """Return whether it has one of the sessionCapabilities."""
        sessions = table(self.capabilities, "sessionCapabilities")
        return isinstance(sessions.get(ability), dict)


@dataclass(frozen=True, slots=True)
class AgentSession:
    """A session that has begun. continued: it is the one that was asked for."""

    id: str
    continued: bool
    state: Table
    """The result of the call that began it: its modes, models and options."""


async def introduce(
    connection: Connection, seconds: float, served: Collection[str] = ()
) -> AgentInfo:
    """Send `initialize` and return what the agent is; see `client`. Raises Failure."""
    try:
        answer = await connection.call("initialize", client(served), seconds)
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


async def fork_session(
    connection: Connection, info: AgentInfo, session_id: str, directory: Path, seconds: float
) -> str:
    """Copy a session, and return the id of the copy; empty if the agent cannot copy it.

    The copy is closed where it was made, as another process is going to load it. Raises Failure if
    the agent ends, or does not answer.
    """
    if not (info.has("fork") and info.loading):
        return ""
    params = {"sessionId": session_id, "cwd": str(directory), "mcpServers": []}
    try:
        copy = text(await connection.call("session/fork", params, seconds), "sessionId")
    except Refused:
        return ""
    if copy in ("", session_id):
        return ""
    if info.has("close"):
        with suppress(Refused):
            await connection.call("session/close", {"sessionId": copy}, seconds)
    return copy


async def set_mode(
    connection: Connection, session: AgentSession, options: Options, mode: str, seconds: float
) -> None:
    """Set the session's mode and check that it is set. Raises Failure.

    Agents answer `{}` also for modes that they do not have, so the mode must be one that they
    offer.
    """
    option = options.of(SessionOption.CATEGORY_MODE)
    if option is not None:
        _check_offered(mode, list(option.choices))
        await set_option(connection, session.id, options, option.id, mode, seconds)
        return
    if not session.continued:  # some agents do not list them again
        _check_offered(mode, [])
    params = {"sessionId": session.id, "modeId": mode}
    await _set(connection, "session/set_mode", params, seconds)


async def set_option(
    connection: Connection,
    session_id: str,
    options: Options,
    option_id: str,
    value: str,
    seconds: float,
) -> None:
    """Set an option that the agent offers, unless it has the value, and check that it is set.

    Raises Failure: INVALID_ARGUMENT if there is no such option or choice, FAILED_PRECONDITION if
    the agent does not take it.
    """
    option = check_choice(options, option_id, value)
    if option.current == value:
        return
    was, setting = option.current, option.setting(value)
    params = {"sessionId": session_id, **setting.params}
    state = await _set(connection, setting.method, params, seconds)
    options.take_state(state)
    changed = options.find(option_id)
    if setting.method != CONFIGURE and changed is not None and changed.current == was:
        changed.current = value  # these answers do not say what is set
    if changed is None or changed.current != value:
        message = f"the agent did not take the {option.name.lower()} {value[:80]!r}"
        raise Failure(Code.FAILED_PRECONDITION, message)


def check_choice(options: Options, option_id: str, value: str) -> AgentOption:
    """Return the option that has this choice. Raises Failure: INVALID_ARGUMENT."""
    option = options.find(option_id)
    if option is None:
        raise Failure(Code.INVALID_ARGUMENT, f"there is no option {option_id[:80]!r}")
    if value not in option.choices:
        message = f"the option {option_id[:80]!r} has no choice {value[:80]!r}"
        raise Failure(Code.INVALID_ARGUMENT, message)
    return option


def _check_offered(mode: str, offered: list[str]) -> None:
    if mode not in offered:
        known = ", ".join(offered[:20]) or "it has none"
        message = f"the agent has no mode {mode[:80]!r}; its modes: {known[:500]}"
        raise Failure(Code.FAILED_PRECONDITION, message)


async def _set(connection: Connection, method: str, params: Table, seconds: float) -> Table:
    try:
        return await connection.call(method, params, seconds)
    except Refused as refused:
        raise refused.failure from None
