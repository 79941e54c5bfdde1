"""The directives of the backend `echo`: their meaning, and the work of parsing them."""

import json
from typing import Any, SupportsIndex

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actors import Code
from callboard_service.backends.echo import directives
from callboard_service.backends.echo.directives import (
    Ask,
    Crash,
    Delay,
    Error,
    Notice,
    Plan,
    Progress,
    Reasoning,
    Repeat,
    Text,
    Tool,
    Usage,
    parse,
)

SIZE = 200_000
"""Characters of a hostile text: enough to take quadratic work far beyond the bound."""

HOSTILE = [
    "[[error:",
    "[[reasoning:",
    "[[repeat:",
    "[[ask:",
    "[[tool:",
    "[[tool:x {",
    '[[tool:x {"a":',
    '[[tool:x {"a":"',
    '[[tool:x {"":1,"',
    '[[tool:x {"a":[[[[[',
    '[[tool:x {"a":{}}',
    "[[tool:x \n\n\n\n\n\n\n\n",
    "[[crash]",
    "[[crash:]",
    "[[stop:",
    "[[progress:",
    "[[plan:",
    "[[plan:;",
    "[[usage:1/",
    "[[notice:",
    "[[discard:1",
    "[",
    "]]",
]


class CountedText(str):
    """A text that counts the characters that are searched or copied in it."""

    work = 0

    def find(  # type: ignore[override]  # only the arguments that the parser passes
        self, sub: str, start: SupportsIndex = 0
    ) -> int:
        found = super().find(sub, start)
        self.work += (len(self) if found < 0 else found) - start.__index__()
        return found

    def __getitem__(self, key: SupportsIndex | slice) -> str:
        piece = super().__getitem__(key)
        self.work += len(piece)
        return piece


class CountingDecoder(json.JSONDecoder):
    """A decoder that counts the characters that it, or the error that it raises, may look at."""

    work = 0

    def raw_decode(self, s: str, idx: int = 0) -> tuple[Any, int]:
        self.work += len(s)
        return super().raw_decode(s, idx)


@pytest.mark.parametrize("closed", ["", "]]", '"}]]'], ids=["open", "closed", "closed-json"])
@pytest.mark.parametrize("unit", HOSTILE)
def test_the_work_is_linear_in_the_text(
    monkeypatch: pytest.MonkeyPatch, unit: str, closed: str
) -> None:
    decoder = CountingDecoder()
    monkeypatch.setattr(directives, "_JSON", decoder)
    text = CountedText(unit * (SIZE // len(unit)) + closed)
    parse(text)
    # Each opening has at least ten characters and costs a first piece of JSON of 256.
    assert text.work + decoder.work <= 64 * len(text)


def test_directives_are_parsed_and_anything_else_is_text() -> None:
    text = (
        'a [[repeat:3]][[delay:5]][[tool:t {"a":[[1]]}]] b[[ask:question]][[error:NOT_FOUND]]'
        "[[reasoning:r [[]][[crash]][[repeat:x]][[error:" + "N" * 100 + "]][[tool:]]"
    )
    assert parse(text) == [
        Text("a "),
        Repeat(3),
        Delay(5),
        Tool("t", {"a": [[1]]}),
        Text(" b"),
        Ask("question"),
        Error(Code.NOT_FOUND),
        Reasoning("r [["),
        Crash(),
        Text("[[repeat:x]][[error:" + "N" * 100 + "]][[tool:]]"),
    ]


def test_every_kind_of_event_has_a_directive() -> None:
    """Directives of events are parsed, and those with an argument of another form are text."""
    assert parse(
        "[[tool:t]][[progress:half ]][[plan:a; b]][[usage:7/100]][[notice:N]][[discard:2]]"
    ) == [
        Tool("t", {}),
        Progress("half "),
        Plan(["a", " b"]),
        Usage(7, 100),
        Notice("N"),
        Notice(discard=2),
    ]
    for text in (
        "[[progress]]", "[[plan:]]", "[[usage:7]]", "[[usage:-1/2]]", f"[[usage:1/{'9' * 19}]]",
        "[[usage:1/2/3]]", "[[notice]]", "[[discard:0]]", "[[discard:x]]", "[[discard:10000001]]",
    ):  # fmt: skip
        assert parse(text) == [Text(text)]


def test_a_number_longer_than_python_converts_is_text() -> None:
    text = "[[repeat:" + "0" * 5000 + "]]"
    assert parse(text) == [Text(text)]


PIECES = st.sampled_from(
    [
        *HOSTILE,
        "]]",
        "}",
        "}]]",
        '"',
        "\\",
        "\\u00e9",
        "-Infinity",
        "1e5",
        "1.5",
        "true",
        " ",
        ",",
        ":",
    ]
)


@given(st.lists(PIECES | st.text(max_size=3), max_size=12).map("".join), st.integers(1, 12))
@example('[[tool:x {"a": -1.5e+10, "b": "\\ud83d\\ude00", "c": [true, null]}]]', 1)
def test_json_in_pieces_is_decoded_as_json_in_one_piece(text: str, size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(directives, "_FIRST_PIECE", len(text) + 1)
        whole = parse(text)
        patch.setattr(directives, "_FIRST_PIECE", size)
        assert parse(text) == whole


@given(st.lists(PIECES | st.text(), max_size=20).map("".join))
def test_words_joined_are_the_text(text: str) -> None:
    assert "".join(Text(text).words()) == text
