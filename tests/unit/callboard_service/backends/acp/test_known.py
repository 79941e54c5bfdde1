"""The table of known agents, and the user's own."""

from pathlib import Path

import pytest

from callboard_service.backends.acp import known
from callboard_service.backends.acp.known import MEANING, KnownAgent, Quirk, known_agents
from callboard_service.errors import BadSettings

ABSOLUTE = "mine: the file applies in every folder; use an absolute path"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of the user's own table, which does not exist."""
    monkeypatch.setattr(known, "user_file", lambda: tmp_path / "config" / "callboard.toml")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    return tmp_path / "config" / "agents.toml"


def test_the_agents_that_are_shipped(own: Path) -> None:
    agents = known_agents()
    assert list(agents) == [
        "opencode", "qwen", "kimi", "fast-agent", "vibe", "gemini", "codex", "claude", "gptme",
        "goose", "deepagents",
    ]  # fmt: skip
    for agent in agents.values():
        assert agent.title
        assert agent.install
        assert agent.permission.endswith(".")
        # What was not tried is not claimed.
        assert (agent.asks == "unknown") is (not agent.tried)


def test_every_quirk_is_explained() -> None:
    assert list(MEANING) == list(Quirk)


def test_no_agent_gets_a_setting_of_the_service(own: Path) -> None:
    names = [name for agent in known_agents().values() for name in agent.variables]
    assert not [name for name in names if name.startswith(("*", "CALLBOARD"))]


def test_the_user_adds_agents_and_replaces_keys(own: Path) -> None:
    own.write_text(
        """
        [mine]
        command = ["my-agent", "--acp"]
        quirks = ["forgets"]

        [opencode]
        command = ["/opt/opencode", "acp"]
        """
    )
    agents = known_agents()
    assert agents["mine"] == KnownAgent(command=("my-agent", "--acp"), quirks=(Quirk.FORGETS,))
    assert agents["opencode"].command == ("/opt/opencode", "acp")
    assert agents["opencode"].title == "OpenCode"


def test_a_file_in_the_working_folder_is_not_read(own: Path) -> None:
    text = '[mine]\ncommand = ["my-agent"]\n'
    Path("agents.toml").write_text(text)
    assert "mine" not in known_agents()


def test_a_relative_configuration_folder_is_not_read(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.write_text('[mine]\ncommand = ["my-agent"]\n')
    monkeypatch.setattr(known, "user_file", lambda: Path("config/callboard.toml"))
    assert "mine" not in known_agents()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("mine = 1", "mine must be a table: [mine]"),
        ("[mine]", "mine: Object missing required field `command`"),
        ("[mine]\ncommand = []", "mine: command must name a program"),
        ('[mine]\ncommand = ["./agent"]', ABSOLUTE),
        ('[qwen]\nasks = "sometimes"', "qwen: Invalid enum value 'sometimes' - at `$.asks`"),
        ('[qwen]\nquirks = ["odd"]', "qwen: Invalid enum value 'odd' - at `$.quirks[0]`"),
        ("[qwen]\nquirk = []", "qwen: Object contains unknown field `quirk`"),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_its_file(own: Path, text: str, reason: str) -> None:
    own.write_text(text)
    with pytest.raises(BadSettings) as caught:
        known_agents()
    assert str(caught.value) == f"{own}: {reason}"
