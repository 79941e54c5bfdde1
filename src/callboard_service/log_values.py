"""Makes log fields plain and bounded, so that rendering cannot raise and lines stay short."""

import math
import re
from collections.abc import Mapping
from typing import Final

TEXT: Final = 4096
"""The most characters of one value."""

TRACE: Final = 16 * 1024
"""The most characters of a traceback."""

ITEMS: Final = 64
"""The most items of a list or a mapping."""

DEPTH: Final = 4
_LARGEST: Final = 2**63
_COLOR: Final = re.compile(r"(\x1b\[[0-9;]*m)")


def plain(value: object, *, depth: int = DEPTH, limit: int = TEXT) -> object:
    """Return the value as plain JSON data, bounded in length, items and depth. Never raises."""
    try:
        return _plain(value, depth, limit)
    except BaseException as error:  # noqa: BLE001 - a failing `__repr__` costs only its own value
        return f"<{type(value).__name__}: its text raised {type(error).__name__}>"


def _plain(value: object, depth: int, limit: int) -> object:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return shorten(str.__str__(value), limit)
    if isinstance(value, int):
        number = int.__index__(value)
        return number if -_LARGEST <= number < _LARGEST else f"<{number.bit_length()} bits>"
    if isinstance(value, float):
        number_text = float.__repr__(value)
        return float(number_text) if math.isfinite(value) else number_text
    if depth and isinstance(value, Mapping):
        pairs = list(value.items())[:ITEMS]
        return {_key(key): plain(item, depth=depth - 1, limit=limit) for key, item in pairs}
    if depth and isinstance(value, list | tuple | set | frozenset):
        return [plain(item, depth=depth - 1, limit=limit) for item in list(value)[:ITEMS]]
    return shorten(repr(value), limit)


def _key(key: object) -> str:
    return str(plain(key, depth=0, limit=128))


def shorten(text: str, limit: int) -> str:
    """Return a longer text with its middle cut out, since both its ends are informative.

    The result keeps `limit` characters, plus a note of how many were left out.
    """
    if len(text) <= limit:
        return text
    cut = len(text) - limit
    return f"{text[: limit // 2]}… ({cut} characters left out) …{text[-(limit - limit // 2) :]}"


def printable(text: str) -> str:
    """Return the text with non-printable characters escaped, except newlines and tabs."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else _escaped(c) for c in text)


def printable_value(value: object) -> object:
    """Return a result of `plain` with all its texts made `printable`."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [printable_value(item) for item in value]
    if isinstance(value, dict):
        return {printable_value(key): printable_value(item) for key, item in value.items()}
    return value


def colored_at_most(text: str) -> str:
    """Return the text made `printable`, but keep colors, which Python's own tracebacks contain."""
    pieces = _COLOR.split(text)
    pieces[::2] = map(printable, pieces[::2])
    return "".join(pieces)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
