"""Bounds texts: names may contain what a client sent, or what an extension made up."""

from typing import Final

NAME: Final = 64
"""Characters of a name or of a class's name."""

PATH: Final = 256
DETAILS: Final = 200
WHERE: Final = 120

_CUT: Final = "…"


def bounded(text: str, at_most: int = NAME) -> str:
    """Return the text without its end if it is longer than `at_most` characters."""
    if len(text) > at_most:
        text = text[: at_most - 1] + _CUT
    # A lone surrogate cannot be encoded.
    return text if text.isascii() else text.encode(errors="replace").decode()


def bounded_path(path: str) -> str:
    """Return the path without its middle if it is too long: both ends say more."""
    if len(path) > PATH:
        half = PATH // 2
        path = path[: half - 1] + _CUT + path[-half:]
    return bounded(path, PATH)
