"""Colours for code."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from callboard_page.nodes import Element, Node, text_of
from callboard_page.text import highlight
from callboard_page.text.highlight import MAX_CHARACTERS, MAX_LINE, highlighted


def text(nodes: list[Node]) -> str:
    return "".join(map(text_of, nodes))


def test_code_of_a_known_language_has_colours() -> None:
    nodes = highlighted("def f():\n    return 1", "python")
    classes = [node.attributes["class"] for node in nodes if isinstance(node, Element)]
    assert classes[:2] == ["k", "nf"]
    assert text(nodes) == "def f():\n    return 1"


@pytest.mark.parametrize("language", ["", "no such language", "<b>", "text"])
def test_other_code_is_text(language: str) -> None:
    assert text(highlighted("a = 1", language)) == "a = 1"
    assert not any(isinstance(node, Element) for node in highlighted("a = 1", language))


@pytest.mark.parametrize("code", ["x = 1\n" * (MAX_CHARACTERS // 6 + 1), "x" * (MAX_LINE + 1)])
def test_long_code_is_text(code: str) -> None:
    assert highlighted(code, "python") == [code]


@pytest.mark.parametrize("language", ["c", "java", "make", "diff"])
def test_code_that_takes_long_keeps_the_colours_that_it_has(
    language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(highlight, "SECONDS", 0.0)
    code = "int a = 1;\nint b = 2;\n"
    nodes = highlighted(code, language)
    assert text(nodes) == code
    assert isinstance(nodes[-1], str)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.text("ab \n\r\t\"'#<>{}/*\\1=", max_size=60),
    st.sampled_from(["python", "c", "html", "json"]),
)
def test_no_character_is_lost(code: str, language: str) -> None:
    assert text(highlighted(code, language)) == code.replace("\r\n", "\n").replace("\r", "\n")
