"""Colours code: Pygments' tokens become spans."""

from collections.abc import Iterator
from typing import Final

from callboard_page.nodes import Node, h

MAX_CHARACTERS: Final = 20_000
"""Longer code is shown without colours: colouring would hold up the page."""


def highlighted(code: str, language: str) -> list[Node]:
    """Return the code as text and spans; only text if the language is unknown or it is long."""
    if not language or len(code) > MAX_CHARACTERS:
        return [code]
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
    return [h("span", text, class_=kind) if kind else text for kind, text in _joined(kinds)]


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
