"""What `callboard agents` prints."""

import json
from dataclasses import replace

import pytest

from callboard_service.terminal.agents import AgentRow, show

READY = AgentRow(
    name="opencode",
    title="OpenCode",
    command="opencode acp",
    install="npm install -g opencode-ai",
    state="ready",
    version="1.18.33",
    trouble="",
    asks="configured",
    permission="It asks only if its configuration says so.",
    abilities=("loads sessions", "copies sessions", "modes: build, plan", "8 models"),
    tried="1.18.33",
    silence=74,
    quirks=("It reports some failed tool calls as completed.",),
)
BROKEN = replace(
    READY, name="qwen", title="Qwen Code", state="not usable", asks="no", abilities=(), silence=0,
    trouble="it ended\x1b[2J with exit code 1", quirks=(), version="", tried="",
)  # fmt: skip
MISSING = replace(BROKEN, name="kimi", title="Kimi Code", state="not installed", trouble="")


def shown(
    capsys: pytest.CaptureFixture[str],
    *rows: AgentRow,
    details: bool = False,
    as_json: bool = False,
) -> str:
    show(rows, as_json=as_json, details=details)
    return "\n".join(line.rstrip() for line in capsys.readouterr().out.splitlines())


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_an_overview_of_eighty_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, READY, BROKEN, MISSING) == (
        "agent     version  state       asks first\n"
        "opencode  1.18.33  ready       if configured  loads sessions; copies sessions;\n"
        "                                              modes: build, plan; 8 models\n"
        "qwen               not usable  NO             it ended␛[2J with exit code 1\n"
        "\n"
        '"asks first", before it runs a command, is what Callboard knows, not tried now.\n'
        "Not installed: kimi.\n"
        "callboard agents NAME says more, also how to install one."
    )


def test_an_overview_without_any_agent(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, MISSING) == (
        "Not installed: kimi.\ncallboard agents NAME says more, also how to install one."
    )


def test_all_about_some_agents(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, READY, MISSING, details=True) == (
        "opencode  OpenCode\n"
        "state        ready\n"
        "version      1.18.33\n"
        "tried with   1.18.33\n"
        "command      opencode acp\n"
        "asks first   if configured. It asks only if its configuration says so.\n"
        "says it can  loads sessions; copies sessions; modes: build, plan; 8 models\n"
        "silence      up to 74 s while it retries its model server\n"
        "note         It reports some failed tool calls as completed.\n"
        "\n"
        "kimi  Kimi Code\n"
        "state        not installed\n"
        "tried with   no version\n"
        "command      opencode acp\n"
        "install      npm install -g opencode-ai\n"
        "asks first   NO. It asks only if its configuration says so.\n"
    )


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = json.loads(shown(capsys, READY, as_json=True))
    assert row["name"] == "opencode"
    assert row["abilities"][0] == "loads sessions"
