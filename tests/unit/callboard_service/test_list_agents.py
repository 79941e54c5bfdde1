"""The command `callboard agents`, from its arguments to its exit code."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from callboard_service import cli, list_agents
from callboard_service.backends.acp import known
from callboard_service.terminal.exits import Exit

OWN = """
[broken]
command = ["broken-agent"]
"""


@pytest.fixture(autouse=True)
def _agents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have one agent installed, which does not start."""
    monkeypatch.setattr(known, "user_file", lambda: tmp_path / "callboard.toml")
    (tmp_path / "agents.toml").write_text(OWN)
    (tmp_path / "broken-agent").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "broken-agent").chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))


def test_installed_agents_are_started() -> None:
    done = CliRunner().invoke(cli.main, ["agents", "--json"])
    rows = {row["name"]: row for row in json.loads(done.output)}
    assert rows["broken"]["state"] == "not usable"
    assert "exit code 3" in rows["broken"]["trouble"]
    assert rows["opencode"]["state"] == "not installed"
    assert done.exit_code == Exit.DONE


def test_no_agent_is_started_if_that_is_not_wanted() -> None:
    done = CliRunner().invoke(cli.main, ["agents", "--no-start", "--json", "broken"])
    (row,) = json.loads(done.output)
    assert row["state"] == "installed"


def test_a_name_that_is_unknown() -> None:
    done = CliRunner().invoke(cli.main, ["agents", "nobody"])
    assert done.exit_code == Exit.BAD_USE
    assert "no agent is called 'nobody'; known are opencode, " in done.output


@pytest.mark.parametrize(
    ("error", "code"),
    [(BrokenPipeError, Exit.PIPE_CLOSED), (KeyboardInterrupt, Exit.INTERRUPTED)],
)
def test_the_output_is_closed_or_the_user_gives_up(
    monkeypatch: pytest.MonkeyPatch, error: type[BaseException], code: Exit
) -> None:
    def show(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(list_agents, "show", show)
    assert CliRunner().invoke(cli.main, ["agents", "--no-start"]).exit_code == code
