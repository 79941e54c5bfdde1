"""Lines of a chat that begin with "/": slash.py."""

import pytest

from callboard_service.terminal.errors import BadCommand
from callboard_service.terminal.slash import (
    NAMES,
    USAGES,
    Message,
    Slash,
    choose,
    feature_of,
    forms_of,
    number,
    read_line,
)


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("hello", Message("hello")),
        (" /help", Message(" /help")),
        ("//etc/hosts is empty", Message("/etc/hosts is empty")),
        ("///", Message("//")),
        ("/", Slash("", "")),
        ("/help", Slash("help", "")),
        ("/queue edit 2  two  words ", Slash("queue", "edit 2  two  words")),
        ("/steer one\ntwo words", Slash("steer", "one\ntwo words")),
        ("/edit\none two", Slash("edit", "one two")),
    ],
)  # fmt: skip
def test_a_line_is_a_message_or_a_command(line: str, meant: Message | Slash) -> None:
    assert read_line(line) == meant


def test_every_command_has_a_usage_that_fits_a_line_of_the_help() -> None:
    assert len(set(NAMES)) == len(NAMES)
    widest = max(len(usage.form) for usage in USAGES)
    assert all(len(usage.about) + widest + 4 < 80 for usage in USAGES)
    assert feature_of("steer") == "steer"
    assert forms_of("attach") == "/attach [PATH], /attach drop N"


@pytest.mark.parametrize(("typed", "value"), [("1", 1), ("3", 3), ("03", 3)])
def test_a_number_is_within_its_range(typed: str, value: int) -> None:
    assert number("queue", typed, 3, "queued messages") == value


@pytest.mark.parametrize(
    ("typed", "most", "reason"),
    [
        ("0", 3, "there are only 3 queued messages"),
        ("4", 3, "there are only 3 queued messages"),
        ("9" * 5000, 3, "there are only 3"),
        ("2", 1, "there is only one"),
        ("1", 0, "there are no queued messages"),
        ("x", 3, "usage: /queue, /queue drop N"),
        ("-1", 3, "usage: "),
        ("²", 3, "usage: "),
        ("", 3, "usage: "),
    ],
)
def test_a_number_beyond_its_range_says_what_there_is(typed: str, most: int, reason: str) -> None:
    with pytest.raises(BadCommand, match=reason):
        number("queue", typed, most, "queued messages")


VALUES = ["gpt-large", "gpt-small", "2", "mini", "gpt"]
MODELS = ["GPT Large", "GPT Small", "Two", "Gpt-Mini", "GPT"]


@pytest.mark.parametrize(
    ("typed", "position"),
    [
        ("gpt-small", 1),
        ("GPT SMALL", 1),
        ("gpt-s", 1),
        ("gpt s", 1),
        ("2", 2),
        ("1", 0),
        ("gpt", 4),
        ("Gpt-M", 3),
        ("tw", 2),
    ],
)
def test_a_choice_is_meant_by_value_name_number_or_beginning(typed: str, position: int) -> None:
    assert choose(typed, VALUES, MODELS, "model") == position


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        ("gp", "gp may mean gpt-large, gpt-small, mini, gpt"),
        ("claude", "there is no model claude"),
        ("9", "there is no model 9"),
        ("", "may mean|there is no model"),
    ],
)
def test_a_choice_that_is_not_clear_is_an_error(typed: str, reason: str) -> None:
    with pytest.raises(BadCommand, match=reason):
        choose(typed, VALUES, MODELS, "model")


def test_a_value_comes_before_a_name() -> None:
    assert choose("A", ["x", "A"], ["A", "B"], "model") == 1
