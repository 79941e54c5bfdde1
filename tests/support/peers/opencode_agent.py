"""OpenCode as an ACP agent (`opencode acp`), installed by `make peers`, with a scripted model."""

import shlex
from pathlib import Path

from tests.support.peers.opencode_server import PROGRAM, isolated


def acp_settings(folder: Path, llm_url: str) -> dict[str, str]:
    """Return the service's settings for the agent, which uses no files outside `folder`."""
    project = folder / "project"
    project.mkdir(parents=True)
    return {
        **isolated(folder / "opencode", llm_url),
        "CALLBOARD_BACKEND": "acp",
        "CALLBOARD_ACP_COMMAND": shlex.join([str(PROGRAM), "acp"]),
        "CALLBOARD_ACP_DIRECTORY": str(project),
    }
