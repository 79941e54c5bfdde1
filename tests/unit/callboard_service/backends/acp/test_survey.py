"""What is found out about agents by asking them: fake ones, which answer from a table."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from callboard_service.backends.acp import survey as under_test
from callboard_service.backends.acp.environment import agent_environment
from callboard_service.backends.acp.known import KnownAgent
from callboard_service.backends.acp.survey import INSTALLED, NOT_INSTALLED, Finding, ask, survey

ALL: dict[str, Any] = {
    "initialize": {
        "result": {
            "protocolVersion": 1,
            "agentInfo": {"name": "fake", "version": "1.2"},
            "agentCapabilities": {
                "loadSession": True,
                "promptCapabilities": {"image": True},
                "sessionCapabilities": {"fork": {}, "delete": {}},
            },
        }
    },
    "session/new": {
        "result": {
            "sessionId": "s1",
            "modes": {"availableModes": [{"id": "ask"}, {"id": "auto"}]},
            "models": {"availableModels": [{"modelId": "a"}, {"modelId": "b"}]},
        }
    },
    "session/delete": {"error": {"code": -32603, "message": "not stored"}},
}

FAKE = """
import json, os, sys
answers = json.loads(sys.argv[1])
print("not a message", flush=True)
for line in sys.stdin:
    request = json.loads(line)
    method = request.get("method", "")
    with open(os.environ["ASKED"], "a") as file:
        file.write(f"{method} {request['params'].get('cwd') == os.getcwd()}\\n")
    for sent in ("session/update", "fs/read_text_file"):
        message = {"jsonrpc": "2.0", "method": sent, "params": {}}
        print(json.dumps(message | ({"id": 0} if sent.startswith("fs") else {})), flush=True)
        if sent.startswith("fs"):
            refused = json.loads(sys.stdin.readline())
            assert refused["error"]["code"] == -32601, refused
    answer = {"jsonrpc": "2.0", "id": request["id"], **answers[method]}
    print(json.dumps(answer), flush=True)
"""


def fake(answers: dict[str, Any]) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", FAKE, json.dumps(answers)]


async def asked(folder: Path, answers: dict[str, Any]) -> tuple[Finding, list[str]]:
    """Return what is found out about an agent, and the methods that it was asked."""
    log = folder / "asked"
    finding = await ask(fake(answers), agent_environment(given={"ASKED": str(log)}), print)
    return finding, log.read_text().splitlines()


async def test_an_agent_is_asked_what_it_can_do_and_leaves_no_session(tmp_path: Path) -> None:
    finding, methods = await asked(tmp_path, ALL)
    assert finding == Finding(
        installed=True,
        version="1.2",
        abilities=(
            "loads sessions", "copies sessions", "takes images", "modes: ask, auto", "2 models",
        ),
    )  # fmt: skip
    assert methods == ["initialize False", "session/new True", "session/delete False"]


async def test_options_go_before_modes_and_models(tmp_path: Path) -> None:
    options = [
        {"id": "m", "category": "mode", "options": [{"value": "plan"}]},
        {
            "id": "n",
            "category": "model",
            "options": [{"value": "a"}, {"value": "b"}, {"value": "c"}],
        },
    ]
    session = ALL["session/new"]["result"] | {"configOptions": options}
    finding, _ = await asked(tmp_path, ALL | {"session/new": {"result": session}})
    assert finding.abilities[-2:] == ("modes: plan", "3 models")


async def test_an_agent_that_says_nothing_of_itself(tmp_path: Path) -> None:
    answers = {"initialize": {"result": {}}, "session/new": {"result": {"sessionId": "s1"}}}
    finding, methods = await asked(tmp_path, answers)
    assert finding == Finding(installed=True)
    assert methods == ["initialize False", "session/new True"]


async def test_an_agent_that_wants_a_login(tmp_path: Path) -> None:
    error = {"error": {"code": -32000, "message": "Authentication required"}}
    finding, _ = await asked(tmp_path, ALL | {"session/new": error})
    assert finding.login
    assert finding.version == "1.2"
    assert finding.trouble.startswith("log in to the agent first")


async def test_an_agent_that_does_not_start() -> None:
    finding = await ask(["sh", "-c", "echo no model >&2; exit 1"], agent_environment(), print)
    assert finding.installed
    assert not finding.login
    assert "no model" in finding.trouble


async def test_only_agents_on_the_path_are_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "here").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "here").chmod(0o700)
    agents = {name: KnownAgent(command=(name, "acp")) for name in ("gone", "here")}
    assert await survey(agents, print, start=False) == {"gone": NOT_INSTALLED, "here": INSTALLED}
    found = await survey(agents, print, start=True)
    assert found["gone"] == NOT_INSTALLED
    assert "exit code 1" in found["here"].trouble


async def test_an_agent_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "PATIENCE", 0)
    finding = await ask([sys.executable, "-c", "input()"], agent_environment(), print, seconds=0)
    assert "did not answer" in finding.trouble
