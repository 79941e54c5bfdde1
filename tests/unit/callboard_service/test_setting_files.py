"""The user's own file may set everything, the working folder's only harmless settings."""

import os
from pathlib import Path

import pytest

from callboard_service.errors import BadSettings
from callboard_service.load_settings import load
from callboard_service.options import HEADINGS
from callboard_service.setting_files import FILE, HARMLESS
from callboard_service.settings import SECRETS, Settings

REDIRECTING = {
    "acp_command": '"./agent acp"',
    "acp_directory": '"."',
    "acp_environment": '["KEY"]',
    "openai_base_url": '"http://127.0.0.1:9/v1"',
    "openai_model": '"upstream/of-a-stranger"',
    "openai_api_key": '"sk-of-a-stranger"',
    "opencode_url": '"http://127.0.0.1:9"',
    "opencode_password": '"of-a-stranger"',
    "opencode_command": '"./opencode"',
    "opencode_directory": '"."',
    "local_model": '"model.gguf"',
    "actors": '["evil"]',
    "host": '"127.0.0.2"',
    "port": "4096",
    "expose": '"plain"',
    "unix_socket": '"socket"',
    "tls_certificate": '"cert.pem"',
    "tls_key": '"key.pem"',
    "allowed_hosts": '["evil.example"]',
    "allowed_origins": '["https://evil.example"]',
    "data_dir": '"data"',
    "runtime_dir": '"run"',
    "token": '"known-to-a-stranger"',
}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of the user's own file, which is not in the working folder."""
    for name in [name for name in os.environ if name.startswith("CALLBOARD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "config" / "callboard"
    folder.mkdir(parents=True)
    (tmp_path / "clone").mkdir()
    monkeypatch.chdir(tmp_path / "clone")
    return folder / FILE


REFUSED = sorted({*Settings.model_fields} - HARMLESS)


def test_nothing_that_redirects_counts_as_harmless() -> None:
    assert {*REDIRECTING} <= {*REFUSED}
    assert {*REFUSED} >= SECRETS
    assert {*Settings.model_fields} >= HARMLESS


@pytest.mark.parametrize("name", REFUSED)
def test_what_sends_secrets_or_runs_code_is_refused_and_says_where_it_belongs(
    own: Path, name: str
) -> None:
    own.write_text("log_level = 'error'")
    Path(FILE).write_text(f"max_sessions = 5\n{name} = {REDIRECTING.get(name, 1)}\n")
    with pytest.raises(BadSettings) as caught:
        load({})
    said = str(caught.value)
    assert said.startswith(f"{name}: {FILE} in the working folder {Path.cwd()} may not set it")
    assert f"CALLBOARD_{name.upper()}" in said
    assert str(own) in said
    assert (f"--{name.replace('_', '-')}" in said) == (name not in SECRETS)
    assert "stranger" not in said


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_even_where_a_flag_or_a_variable_says_otherwise(
    own: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("CALLBOARD_OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    Path(FILE).write_text(f"{name} = {REDIRECTING.get(name, 1)}\n")
    with pytest.raises(BadSettings, match=name):
        load({"log_level": "debug"})


def test_each_key_that_is_refused_is_named(own: Path) -> None:
    Path(FILE).write_text('token = "known-to-a-stranger"\nactors = []\n')
    with pytest.raises(BadSettings, match=r"token: .*; actors: "):
        load({})


@pytest.mark.parametrize("backend", ["openai", "opencode", "auto", "nonsense"])
def test_a_backend_that_sends_the_conversation_elsewhere_is_refused(
    own: Path, backend: str
) -> None:
    Path(FILE).write_text(f'backend = "{backend}"\n')
    with pytest.raises(BadSettings, match=r"backend: .* to anything but echo or local"):
        load({})


def test_limits_times_and_a_backend_on_this_machine_are_taken(own: Path) -> None:
    own.write_text("max_sessions = 7\nmax_handshakes = 8\n")
    Path(FILE).write_text('backend = "echo"\nmax_sessions = 5\ndrain_ms = 0\nlog_level = "debug"\n')
    settings = load({})
    assert (settings.backend, settings.max_sessions, settings.max_handshakes) == ("echo", 5, 8)
    assert (settings.drain_ms, settings.log_level) == (0, "debug")


def test_the_user_s_own_file_sets_all(own: Path) -> None:
    own.write_text(
        'openai_base_url = "http://127.0.0.1:9/v1"\nopenai_api_key = "k"\nactors = ["mine"]\n'
    )
    settings = load({})
    assert settings.openai_base_url == "http://127.0.0.1:9/v1"
    assert settings.actors == ("mine",)
    assert settings.openai_api_key is not None


@pytest.mark.parametrize(
    ("line", "refused"),
    [
        ('acp_command = "./agent --acp"', True),
        ("acp_command = \"'./an agent' acp\"", True),
        ('acp_command = "opencode acp"', False),
        ("acp_command = \"'/opt/an agent' acp\"", False),
        ('opencode_command = "./opencode"', True),
        ('opencode_command = "tools/opencode"', True),
        ('opencode_command = "opencode-next"', False),
        ('opencode_command = "/opt/opencode"', False),
        ('local_model = "model.gguf"', True),
        ('local_model = "/models/model.gguf"', False),
    ],
)
def test_the_user_s_own_file_names_nothing_that_would_be_loaded_from_the_working_folder(
    own: Path, line: str, refused: bool
) -> None:
    own.write_text(line)
    if refused:
        with pytest.raises(BadSettings, match="use an absolute path"):
            load({})
    else:
        load({})


def test_in_the_user_s_configuration_folder_its_file_is_the_user_s_own(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.write_text('openai_base_url = "http://127.0.0.1:9/v1"\n')
    monkeypatch.chdir(own.parent)
    assert load({}).openai_base_url == "http://127.0.0.1:9/v1"


def test_a_configuration_folder_named_relative_to_the_working_folder_is_ignored(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", ".")
    Path("callboard").mkdir()
    (Path("callboard") / FILE).write_text('token = "known-to-a-stranger"\n')
    monkeypatch.setenv("HOME", str(own.parent))
    assert load({}).token is None


def test_an_env_file_of_the_working_folder_is_not_read(own: Path) -> None:
    Path(".env").write_text("CALLBOARD_TOKEN=known-to-a-stranger\nCALLBOARD_MAX_SESSIONS=1\n")
    assert load({}).model_fields_set == set()


@pytest.mark.parametrize("whose", ["own", "working folder"])
@pytest.mark.parametrize(
    "content", [b"max_sessions = ", b"\xff", b"a = " + b"[" * 5000, b"#" * (1024 * 1024 + 1)]
)
def test_a_file_that_cannot_be_read_is_named_in_one_line(
    own: Path, whose: str, content: bytes
) -> None:
    path = own if whose == "own" else Path(FILE)
    path.write_bytes(content)
    with pytest.raises(BadSettings) as caught:
        load({})
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value)) < 500


def test_a_path_that_is_not_a_regular_file_sets_nothing(own: Path) -> None:
    own.symlink_to(own)
    assert load({}).model_fields_set == set()
    if hasattr(os, "mkfifo"):
        os.mkfifo(FILE)
        assert load({}).model_fields_set == set()


@pytest.mark.parametrize("whose", ["own", "working folder"])
def test_a_folder_with_the_name_of_a_settings_file_is_an_error(own: Path, whose: str) -> None:
    path = own if whose == "own" else Path(FILE)
    path.mkdir()
    with pytest.raises(BadSettings, match="is a directory"):
        load({})


def test_a_module_may_be_in_the_working_folder_if_it_was_asked_for_here(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.write_text('actors = ["mine"]\n')
    assert not load({}).search_working_folder
    assert load({"actors": ("mine",)}).search_working_folder
    monkeypatch.setenv("CALLBOARD_ACTORS", "mine")
    assert load({}).search_working_folder


def test_every_limit_of_the_help_may_stand_in_the_working_folders_file() -> None:
    """The README and the help say so."""
    limits = {
        name
        for heading, names in HEADINGS.items()
        if heading.startswith("Limits")
        for name in names
    }
    assert limits == HARMLESS - {"backend", "log_level", "loop", "drain_ms"}
