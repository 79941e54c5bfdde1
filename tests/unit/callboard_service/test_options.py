"""The help of `callboard serve`, and the report of unknown `CALLBOARD_*` variables."""

import re

from click.testing import CliRunner

from callboard_service.cli import main, serve_command
from callboard_service.load_settings import unknown_variables
from callboard_service.options import HEADINGS
from callboard_service.settings import FILE, SECRETS, Settings


def test_every_option_stands_under_one_heading() -> None:
    listed = [name for names in HEADINGS.values() for name in names]
    assert sorted(listed) == sorted(parameter.name or "" for parameter in serve_command.params)
    assert set(Settings.model_fields) - set(listed) == SECRETS


def test_the_help_names_options_headings_secrets_and_files() -> None:
    said = CliRunner().invoke(main, ["serve", "--help"], terminal_width=80).output
    places = [said.index(f"\n{heading}:") for heading in HEADINGS]
    assert places == sorted(places)
    for name in (name for names in HEADINGS.values() for name in names):
        assert said.count(f"--{name.replace('_', '-')} ") >= 1
    for name in SECRETS:
        assert f"CALLBOARD_{name.upper()} " in said
        assert f"--{name.replace('_', '-')} " not in said
    assert FILE in said
    assert "CALLBOARD_MAX_SESSIONS=10" in said
    assert re.search(r"^  -h, --help", said, re.MULTILINE)


def test_a_variable_that_nothing_reads_is_found_with_the_one_that_was_meant() -> None:
    given = {
        "CALLBOARD_MAX_SESSION": "1",
        "CALLBOARD_TOKEN": "x" * 20,
        "CALLBOARD_XYZZY": "1",
        "PATH": "/bin",
        "MAX_SESSIONS": "1",
    }
    assert unknown_variables(given) == [
        ("CALLBOARD_MAX_SESSION", "CALLBOARD_MAX_SESSIONS"),
        ("CALLBOARD_XYZZY", None),
    ]
