"""Colours code: Pygments' tokens become spans."""

from collections.abc import Iterator
from time import perf_counter
from typing import Final

from callboard_page.nodes import Node, h

MAX_CHARACTERS: Final = 20_000
"""Longer code is shown without colours: colouring would hold up the page."""

MAX_LINE: Final = 1_000
"""The same for a line: many of Pygments' rules take time that is quadratic in its length."""

SECONDS: Final = 0.2
"""Code that takes longer has colours as far as that: some of Pygments' rules are quadratic in what
they meet, so that a short text can take long."""


def highlighted(code: str, language: str) -> list[Node]:
    """Return the code as text and spans; only text if the language is unknown or it is long."""
    if not language or len(code) > MAX_CHARACTERS or _has_long_line(code):
        return [code]
    code = code.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")  # as Pygments does
    # Imported once it is needed: most of its time is the first use of a language.
    from pygments.lexers import get_lexer_by_name
    from pygments.token import STANDARD_TYPES
    from pygments.util import ClassNotFound

    try:
        lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except (ClassNotFound, ImportError):  # the page carries the lexers of some languages only
        return [code]
    kinds: Iterator[tuple[str, str]] = (
        (STANDARD_TYPES.get(kind, ""), text) for kind, text in lexer.get_tokens(code)
    )
    coloured = _joined(_in_time(kinds, code))
    return [h("span", text, class_=kind) if kind else text for kind, text in coloured]


def _has_long_line(code: str) -> bool:
    return any(len(line) > MAX_LINE for line in code.split("\n"))


def _in_time(tokens: Iterator[tuple[str, str]], code: str) -> Iterator[tuple[str, str]]:
    """Yield the tokens of the code until they have taken too long; then the rest as text."""
    end = perf_counter() + SECONDS
    done = 0
    for kind, text in tokens:
        yield kind, text
        done += len(text)
        if perf_counter() > end:
            yield "", code[done:]
            return


def _joined(tokens: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Join neighbours of one kind; white space takes the kind before it."""
    kind, texts = "", [""]
    for next_kind, text in tokens:
        if next_kind != kind and next_kind != "w" and not text.isspace():
            if any(texts):
                yield kind, "".join(texts)
            kind, texts = next_kind, []
        texts.append(text)
    if any(texts):
        yield kind, "".join(texts)
