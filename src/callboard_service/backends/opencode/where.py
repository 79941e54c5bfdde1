"""Where the OpenCode server is: running already, or to be started."""

from dataclasses import dataclass
from pathlib import Path

from callboard_service.backends.opencode.api import Address
from callboard_service.backends.opencode.child import find_program
from callboard_service.errors import BackendFailed


@dataclass(frozen=True, slots=True)
class Attached:
    """A running server. directory: of the project there; empty: the server's own."""

    address: Address
    directory: str = ""


@dataclass(frozen=True, slots=True)
class Supervised:
    """A server to be started: its program and the project's directory."""

    program: str
    directory: Path


def find_server(
    url: str | None, password: str, command: str | None, directory: Path | None
) -> Attached | Supervised:
    """Decide from the settings where the server is. Raises BackendFailed."""
    if url is not None:
        if command is not None:
            raise BackendFailed(
                "opencode: CALLBOARD_OPENCODE_URL and CALLBOARD_OPENCODE_COMMAND cannot be combined"
            )
        return Attached(Address(url, password), "" if directory is None else str(directory))
    if password:
        raise BackendFailed("opencode: CALLBOARD_OPENCODE_PASSWORD requires CALLBOARD_OPENCODE_URL")
    project = (directory or Path()).resolve()
    if not project.is_dir():
        raise BackendFailed(f"opencode: there is no directory {project}")
    return Supervised(find_program(command), project)
