"""The real OpenCode server, installed by `make peers`, with a scripted model."""

import contextlib
import json
import os
import secrets
import select
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.e2e.service_process import ServiceProcess
from tests.support.peers.scripted_llm import MODEL

VERSION = "1.18.33"
PROGRAM = (
    Path(__file__).parents[3]
    / ".build"
    / f"opencode-{VERSION}"
    / "node_modules"
    / "opencode-ai"
    / "bin"
    / "opencode.exe"
)

_PLUGIN = {"dependencies": {"@opencode-ai/plugin": VERSION}}
_QUIET = (
    "AUTOUPDATE",
    "MODELS_FETCH",
    "LSP_DOWNLOAD",
    "DEFAULT_PLUGINS",
    "SHARE",
    "CLAUDE_CODE",
    "EXTERNAL_SKILLS",
    "EMBEDDED_WEB_UI",
)


def need_opencode() -> None:
    """Without the server, skip the test, or fail it in CI."""
    if PROGRAM.is_file():
        return
    if shutil.which("npm") is None:
        reason = "the OpenCode server needs npm, which was not found"
    else:
        reason = f"OpenCode {VERSION} is not installed; `make peers` installs it, with npm"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def server_of(service: ServiceProcess) -> psutil.Process:
    """Return the server that a service has started; its guardian is another process."""
    (server,) = service.programs(str(PROGRAM))
    return server


def isolated(folder: Path, llm_url: str) -> dict[str, str]:
    """Make an environment (without PATH) in which OpenCode uses no files outside `folder`."""
    homes = ("config", "data", "cache", "state", "home", "tmp")
    for name in homes:
        (folder / name).mkdir(parents=True, exist_ok=True)
    # Otherwise, OpenCode installs this from the network when it first opens a project.
    plugins = folder / "config" / "opencode"
    (plugins / "node_modules").mkdir(parents=True, exist_ok=True)
    (plugins / "package.json").write_text(json.dumps(_PLUGIN))
    lock = {"name": "opencode", "lockfileVersion": 3, "requires": True, "packages": {"": _PLUGIN}}
    (plugins / "package-lock.json").write_text(json.dumps(lock))
    config = folder / "opencode.json"
    config.write_text(json.dumps(_config(llm_url)))
    return {
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        **{f"XDG_{name.upper()}_HOME": str(folder / name) for name in homes[:4]},
        "OPENCODE_CONFIG": str(config),
        **{f"OPENCODE_DISABLE_{name}": "1" for name in _QUIET},
    }


def _config(llm_url: str) -> dict[str, object]:
    limit = {"context": 128_000, "output": 8192}
    name = f"scripted/{MODEL}"
    return {
        "autoupdate": False,
        "share": "disabled",
        "lsp": False,
        "formatter": False,
        "model": name,
        "small_model": name,
        "enabled_providers": ["scripted"],
        "permission": {"bash": "ask"},
        "provider": {
            "scripted": {
                "npm": "@ai-sdk/openai-compatible",
                "name": "Scripted",
                "options": {"baseURL": llm_url, "apiKey": "sk-scripted"},
                "models": {MODEL: {"tool_call": True, "reasoning": True, "limit": limit}},
            }
        },
    }


@dataclass(frozen=True)
class OpenCodeServer:
    """A running server."""

    url: str
    password: str
    project: Path
    database: Path


@contextlib.contextmanager
def running_opencode(folder: Path, llm_url: str) -> Iterator[OpenCodeServer]:
    """Run a server for the test, and stop it on exit."""
    project = folder / "project"
    project.mkdir(parents=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    password = secrets.token_urlsafe(16)
    environment = {"PATH": os.environ["PATH"], "OPENCODE_SERVER_PASSWORD": password}
    log = folder / "opencode.log"
    with log.open("wb") as log_file:
        process = subprocess.Popen(
            [str(PROGRAM), "serve", "--hostname", "127.0.0.1", "--port", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log_file,
            cwd=project,
            env=environment | isolated(folder, llm_url),
        )
    assert process.stdout is not None
    with process.stdout:
        try:
            assert select.select([process.stdout], [], [], 60)[0], "OpenCode is not ready"
            line = process.stdout.readline().decode()
            assert "listening on" in line, f"OpenCode did not start: {line}{log.read_text()}"
            database = folder / "data" / "opencode" / "opencode.db"
            yield OpenCodeServer(line.split()[-1], password, project, database)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
