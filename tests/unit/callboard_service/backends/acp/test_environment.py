"""An agent gets the variables that it may have, and no other."""

import pytest

from callboard_service.backends.acp.environment import agent_environment

SOURCE = {
    "PATH": "/bin",
    "LC_ALL": "C",
    "HTTPS_PROXY": "http://proxy",
    "OPENAI_API_KEY": "sk-1",
    "OPENAI_BASE_URL": "http://model",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "CALLBOARD_TOKEN": "token",
    "callboard_openai_api_key": "sk-2",
}

COMMON = {"PATH": "/bin", "LC_ALL": "C", "HTTPS_PROXY": "http://proxy"}


def test_no_key_and_no_setting_of_the_service_is_passed_on() -> None:
    assert agent_environment(source=SOURCE) == COMMON


def test_what_the_agent_needs_is_passed_on() -> None:
    needed = agent_environment(["OPENAI_*"], source=SOURCE)
    assert needed == COMMON | {"OPENAI_API_KEY": "sk-1", "OPENAI_BASE_URL": "http://model"}


def test_settings_of_the_service_are_kept_even_if_they_are_asked_for() -> None:
    given = {"Callboard_Token": "token", "MODE": "ask", "PATH": "/usr/bin"}
    assert agent_environment(["*"], given, SOURCE).keys() & {"OPENAI_API_KEY", "MODE"} == {
        "OPENAI_API_KEY",
        "MODE",
    }
    assert agent_environment(["CALLBOARD_*", "callboard_*"], given, SOURCE) == COMMON | {
        "MODE": "ask",
        "PATH": "/usr/bin",
    }


def test_the_environment_of_the_process_is_what_is_chosen_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CALLBOARD_TOKEN", "token")
    monkeypatch.setenv("TZ", "UTC")
    chosen = agent_environment()
    assert chosen["TZ"] == "UTC"
    assert "CALLBOARD_TOKEN" not in chosen
