"""Real ACP agents, installed by `make peers` or `make agents`, each with a scripted model."""

import json
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.peers import opencode_server
from tests.support.peers.scripted_llm import MODEL, Step, call

BUILD = Path(__file__).parents[3] / ".build"

KIMI_CONFIG = f"""
default_model = "{MODEL}"
default_permission_mode = "manual"
telemetry = false

[providers.scripted]
type = "openai"
base_url = URL
api_key = "sk-scripted"

[models."{MODEL}"]
provider = "scripted"
model = "{MODEL}"
max_context_size = 128000
capabilities = ["thinking", "tool_use"]
"""


@dataclass(frozen=True)
class RealAgent:
    """An agent. Its version is that of the Makefile.

    command: starts it. configure: takes its home and the URL of the model server, and returns the
    variables that it needs. shell: makes the model's call of the tool that runs a command.
    target: the make target that installs it.
    """

    name: str
    version: str
    command: list[str]
    configure: Callable[[Path, str], dict[str, str]]
    shell: Callable[[str], Step]
    target: str = "peers"

    @property
    def folder(self) -> Path:
        """Where it is installed."""
        return BUILD / f"{self.name}-{self.version}"

    def need(self) -> None:
        """Without the agent, skip the test, or fail it in CI."""
        program = next(part for part in reversed(self.command) if part.startswith("/"))
        if not Path(program).is_file():
            reason = f"{self.name} {self.version} is not installed: make {self.target}"
            if os.environ.get("CI") == "true":
                pytest.fail(reason)
            pytest.skip(reason)

    def settings(self, folder: Path, llm_url: str) -> dict[str, str]:
        """Return the service's settings for the agent, which uses no files outside `folder`."""
        home, project = folder / "home", folder / "project"
        for made in (home, project, folder / "tmp"):
            made.mkdir(parents=True, exist_ok=True)
        variables = self.configure(home, llm_url)
        return {
            "HOME": str(home),
            "TMPDIR": str(folder / "tmp"),
            **{f"XDG_{name}_HOME": str(home / name) for name in ("CACHE", "CONFIG", "DATA")},
            "XDG_STATE_HOME": str(home / "STATE"),
            **variables,
            "CALLBOARD_BACKEND": "acp",
            "CALLBOARD_ACP_COMMAND": shlex.join(self.command),
            "CALLBOARD_ACP_DIRECTORY": str(project),
            "CALLBOARD_ACP_ENVIRONMENT": ",".join(variables),
        }


def _qwen(home: Path, url: str) -> dict[str, str]:
    (home / ".qwen").mkdir(exist_ok=True)
    (home / ".qwen" / "settings.json").write_text(
        json.dumps(
            {"general": {"disableAutoUpdate": True}, "privacy": {"usageStatisticsEnabled": False}}
        )
    )
    return {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "sk-scripted", "OPENAI_MODEL": MODEL}


def _kimi(home: Path, url: str) -> dict[str, str]:
    folder = home / ".kimi-code"
    folder.mkdir(exist_ok=True)
    (folder / "config.toml").write_text(KIMI_CONFIG.replace("URL", json.dumps(url)))
    quiet = ("KIMI_DISABLE_TELEMETRY", "KIMI_CODE_NO_AUTO_UPDATE", "KIMI_DISABLE_CRON")
    return {"KIMI_CODE_HOME": str(folder), **dict.fromkeys(quiet, "1")}


def _fast(home: Path, url: str) -> dict[str, str]:
    return {"GENERIC_BASE_URL": url, "GENERIC_API_KEY": "sk-scripted"}


def _installed(name: str, version: str, *path: str) -> str:
    return str((BUILD / f"{name}-{version}").joinpath(*path))


_QWEN, _KIMI, _FAST = "0.24.4", "2.1.0", "0.10.48"

OPENCODE = RealAgent(
    name="opencode",
    version=opencode_server.VERSION,
    command=[str(opencode_server.PROGRAM), "acp"],
    configure=opencode_server.isolated,
    shell=lambda command: call("bash", command=command, description="d"),
)
QWEN = RealAgent(
    name="qwen",
    version=_QWEN,
    command=[
        _installed("qwen", _QWEN, "node_modules", ".bin", "qwen"),
        "--acp",
        "--approval-mode",
        "default",
    ],
    configure=_qwen,
    shell=lambda command: call(
        "run_shell_command", command=command, is_background=False, description="d"
    ),
)
KIMI = RealAgent(
    name="kimi",
    version=_KIMI,
    command=[
        _installed("kimi", _KIMI, "node_modules", "node", "bin", "node"),
        _installed("kimi", _KIMI, "node_modules", "@moonshot-ai", "kimi-code", "dist", "main.mjs"),
        "acp",
    ],
    configure=_kimi,
    shell=lambda command: call("Bash", command=command),
    target="agents",
)
FAST = RealAgent(
    name="fast-agent",
    version=_FAST,
    command=[
        _installed("fast-agent", _FAST, "bin", "fast-agent-acp"),
        "--model",
        f"generic.{MODEL}",
        "--shell",
    ],
    configure=_fast,
    shell=lambda command: call("bash", command=command),
    target="agents",
)

EVERY = (OPENCODE, QWEN, KIMI, FAST)
