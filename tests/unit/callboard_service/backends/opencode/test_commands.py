"""A message that begins with the name of a command calls it."""

from typing import Any

import pytest

from callboard_service.backends.opencode.commands import (
    MAX_COMMANDS,
    MAX_DESCRIPTION,
    Called,
    called,
    command_list,
)

KNOWN: list[dict[str, Any]] = [{"name": "review"}, {"name": "a:b"}, {"name": 1}, {}]


@pytest.mark.parametrize(
    ("said", "call"),
    [
        ("/review", Called("review", "")),
        ("/review  the change ", Called("review", "the change ")),
        ("/review\nthe change", Called("review", "the change")),
        ("/a:b c", Called("a:b", "c")),
        ("/reviewer", None),
        ("review", None),
        (" /review", None),
        ("/ review", None),
        ("/", None),
        ("/1", None),
        ("//review", None),
    ],
)
def test_a_command_is_called_by_its_name(said: str, call: Called | None) -> None:
    """Anything else is a message like others."""
    assert called(said, KNOWN) == call


def test_commands_are_listed_with_what_they_take() -> None:
    """Texts are cut, and those without a name are left out."""
    listed = command_list(
        [
            {"name": "one", "description": "x" * 2000, "hints": ["$ARGUMENTS"]},
            {"name": "two", "hints": ["$1", "$2", 3]},
            {"name": "three"},
            {"description": "nameless"},
        ]
    )
    found = [(command.name, command.hint) for command in listed.commands]
    assert found == [("one", "arguments"), ("two", "$1 $2"), ("three", "")]
    assert len(listed.commands[0].description) == MAX_DESCRIPTION
    assert len(command_list([{"name": "c"}] * 2000).commands) == MAX_COMMANDS
