from pathlib import Path

import pytest

from callboard_service.backends.openai.api import OpenAITimeouts
from callboard_service.backends.openai.backend import OpenAIBackend
from callboard_service.errors import BackendFailed, BadSettings
from callboard_service.load_settings import load
from callboard_service.log import make_log
from callboard_service.make_backend import make_backend
from callboard_service.settings import SECRETS

KEY = "sk-s3cr3t"
LOG = make_log("error")


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep settings files and data of the user out of the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("CALLBOARD_DATA_DIR", str(tmp_path))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("openai_base_url", "localhost:8080"),
        ("openai_base_url", "ftp://localhost"),
        ("openai_base_url", "http://"),
        ("openai_base_url", f"http://user:{KEY}@localhost"),
        ("openai_base_url", f"http://{KEY}@localhost"),
        ("openai_api_key", f"{KEY}\nX-Evil: 1"),
        ("openai_api_key", f"{KEY}\n"),
        ("openai_api_key", f"two {KEY}"),
        ("openai_api_key", f"{KEY}é"),
    ],
)
def test_invalid_settings_are_named_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"CALLBOARD_{name.upper()}", value)
    with pytest.raises(BadSettings, match=name) as caught:
        load({})
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        {"OPENAI_BASE_URL": "http://localhost:11434"},
        {"OPENAI_API_KEY": KEY},
        {"OPENAI_API_KEY": KEY, "BACKEND": "openai"},
    ],
)
def test_auto_is_openai_if_one_of_its_settings_is_given(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str]
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(f"CALLBOARD_{name}", value)
    assert isinstance(make_backend(load({}), LOG), OpenAIBackend)


def test_signs_of_life_are_waited_for_at_least_as_long_as_silence() -> None:
    url = {"openai_base_url": "http://localhost:1"}
    for seconds, content in ((60, 1800.0), (7200, 7200.0)):
        backend = make_backend(load({**url, "openai_silence_ms": seconds * 1000}), LOG)
        assert isinstance(backend, OpenAIBackend)
        assert (backend._patience.silence, backend._patience.content) == (seconds, content)


def test_every_time_out_is_a_setting() -> None:
    settings = {
        "openai_base_url": "http://127.0.0.1:1",
        "openai_connect_ms": 1_000,
        "openai_models_ms": 2_000,
        "openai_silence_ms": 3_000,
        "openai_content_ms": 4_000,
        "openai_ending_ms": 6_000,
        "openai_loading_ms": 7_000,
    }
    backend = make_backend(load(settings), LOG)
    assert isinstance(backend, OpenAIBackend)
    assert backend._patience == OpenAITimeouts(1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)
    unset = make_backend(load({"openai_base_url": "http://127.0.0.1:1"}), LOG)
    assert isinstance(unset, OpenAIBackend)
    assert unset._patience == OpenAITimeouts(), "the defaults are stated twice"


def test_another_backend_that_is_named_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLBOARD_OPENAI_API_KEY", KEY)
    assert make_backend(load({"backend": "echo"}), LOG).name == "echo"


@pytest.mark.parametrize("settings", [{"openai_model": "x"}, {"backend": "openai"}])
def test_openai_needs_a_base_url_or_a_key(settings: dict[str, object]) -> None:
    with pytest.raises(BackendFailed, match="CALLBOARD_OPENAI_BASE_URL"):
        make_backend(load(settings), LOG)


def test_the_key_is_no_flag() -> None:
    assert "openai_api_key" in SECRETS
    assert "openai_base_url" not in SECRETS
