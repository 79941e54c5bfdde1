"""Files of the service that other users may read or change are reported before it starts."""

import os
from pathlib import Path

import pytest

from callboard_service.load_settings import load
from callboard_service.own_files import loose_files, mode_of
from callboard_service.settings import Settings

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "config" / "callboard").mkdir(parents=True)
    return load({"data_dir": tmp_path / "data", "tls_key": "key", "tls_certificate": "cert"})


@pytest.mark.parametrize("mode", [0o777, 0o750, 0o701])
def test_a_data_folder_that_others_may_use_is_reported(
    settings: Settings, tmp_path: Path, mode: int
) -> None:
    assert list(loose_files(settings)) == []
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(mode)
    assert list(loose_files(settings)) == [f"{tmp_path / 'data'} (mode {mode:04o})"]
    (tmp_path / "data").chmod(0o700)
    assert list(loose_files(settings)) == []


@pytest.mark.parametrize(
    ("content", "mode", "reported"),
    [
        ("openai_api_key = 'k'", 0o644, True),
        ("token = 'a-token-of-the-user'", 0o640, True),
        ("token = 'a-token-of-the-user'", 0o600, False),
        ("max_sessions = 5", 0o664, False),
        ("max_sessions = 5", 0o666, True),
    ],
)
def test_the_user_s_file_is_reported_if_others_may_read_its_secrets_or_change_it(
    settings: Settings, tmp_path: Path, content: str, mode: int, reported: bool
) -> None:
    path = tmp_path / "config" / "callboard" / "callboard.toml"
    path.write_text(content)
    path.chmod(mode)
    assert list(loose_files(settings)) == [f"{path} (mode {mode:04o})"] * reported


def test_a_key_of_tls_that_others_may_read_is_reported(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "key").touch(0o600)
    assert list(loose_files(settings)) == []
    (tmp_path / "key").chmod(0o644)
    assert list(loose_files(settings)) == ["key (mode 0644)"]


def test_what_is_not_there_has_no_mode(tmp_path: Path) -> None:
    assert mode_of(tmp_path / "gone") is None
    (tmp_path / "loop").symlink_to("loop")
    assert mode_of(tmp_path / "loop") is None
