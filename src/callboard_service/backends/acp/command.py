"""How an agent is started, as the settings say."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from callboard_service.backends.acp.environment import agent_environment
from callboard_service.backends.acp.known import KnownAgent, known_agents
from callboard_service.backends.acp.quirks import agent_of_command, agent_of_name
from callboard_service.errors import BackendFailed
from callboard_service.launch import find_program


@dataclass(frozen=True, slots=True)
class AgentCommand:
    """How to start an agent.

    arguments: the program and its arguments. directory: where it works. environment: the names of
    the variables that it gets besides those that every agent gets. mode: to be set in each session;
    empty: the agent's own. known: the agents that are known. files: the folder whose files it uses
    through the service; None: it uses files by itself. terminals: whether the service runs its
    commands. shared: whether one process serves all conversations.
    """

    arguments: Sequence[str]
    directory: Path
    environment: Sequence[str] = ()
    mode: str = ""
    known: Mapping[str, KnownAgent] = field(default_factory=dict)
    files: Path | None = None
    terminals: bool = False
    shared: bool = False

    def identify(self, name: str = "") -> KnownAgent | None:
        """Return what is known about the agent, which may call itself `name`; None: nothing."""
        found = agent_of_command(self.known, self.arguments[0])
        return found or agent_of_name(self.known, name)

    def variables(self) -> dict[str, str]:
        """Return the environment that it gets."""
        known = self.identify()
        return agent_environment((*self.environment, *(known.variables if known else ())))

    @property
    def shown(self) -> str:
        """The command for a person, and what identifies the agent."""
        return shlex.join(self.arguments)


def find_agent(
    command: str | None,
    directory: Path | None,
    environment: Sequence[str],
    mode: str,
    files: Path | None = None,
    *,
    terminals: bool = False,
    shared: bool = False,
) -> AgentCommand:
    """Return how to start the agent that the settings name. Raises BackendFailed and BadSettings.

    A program that is named without a folder is not looked for in the working folder.
    """
    try:
        arguments = shlex.split(command or "")
    except ValueError as error:
        raise BackendFailed(f"acp: acp_command: {error}") from None
    if not arguments:
        raise BackendFailed('acp: set acp_command, for example --acp-command "opencode acp"')
    program = find_program(arguments[0])
    if program is None:
        raise BackendFailed(f"acp: program {arguments[0]!r} not found (acp_command)")
    folder = (directory or Path.cwd()).absolute()
    if not folder.is_dir():
        raise BackendFailed(f"acp: there is no folder {folder} (acp_directory)")
    if files is not None and not files.is_dir():
        raise BackendFailed(f"acp: there is no folder {files} (acp_files)")
    files = files and files.absolute()
    found = AgentCommand(
        [program, *arguments[1:]],
        folder,
        environment,
        mode,
        known_agents(),
        files,
        terminals,
        shared,
    )
    if shared:
        _check_shares(found)
    return found


def _check_shares(command: AgentCommand) -> None:
    """Raise BackendFailed unless the agent is known to keep its conversations apart."""
    agent = command.identify()
    if agent is None or not agent.shares:
        sharing = ", ".join(name for name, one in command.known.items() if one.shares)
        raise BackendFailed(
            "acp: acp_processes = shared is for agents that are known to keep the conversations "
            f"in one process apart: {sharing}. For another one, add `shares = true` to its entry "
            "in your agents.toml"
        )
