"""What models, their servers and agents say, made fit for the contract: one place for all backends.

Protobuf refuses half a surrogate pair, which JavaScript makes when it cuts a text, and its readers
refuse messages that are nested too deeply.
"""

import json
import math
import re
from typing import Final, Never

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.struct_pb2 import Struct

RAW: Final = "arguments"
"""The key under which arguments are shown that are no JSON object, or none that Struct can say."""

MAX_DEPTH: Final = 24
"""Levels of a tool call's arguments; deeper ones are shown as text. A level is up to three nested
messages (Struct, entry, Value), and protobuf's readers stop at 100."""

_MAX_TEXT: Final = 64 * 1024
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def clean(text: str) -> str:
    """Return the text with U+FFFD for each half of a surrogate pair, which protobuf refuses."""
    if _SURROGATE.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def as_struct(text: str) -> Struct:
    """The arguments; those that are no JSON object as they are, under the key `RAW`.

    None at all are an empty object.
    """
    if not text.strip():
        return Struct()
    try:
        value = json.loads(text, parse_constant=_refuse)
        if isinstance(value, dict) and _fits(value, MAX_DEPTH):
            return ParseDict(value, Struct())
    except (ValueError, RecursionError, ParseError):
        pass
    return ParseDict({RAW: clean(text)}, Struct())


def struct_of(value: object) -> Struct:
    """Return decoded arguments; those that are no object, or too deep, as text under the key `RAW`.

    None are an empty object.
    """
    if value is None:
        return Struct()
    try:
        if isinstance(value, dict) and _fits(value, MAX_DEPTH):
            return ParseDict(value, Struct())
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    except (ValueError, TypeError, RecursionError, ParseError):
        text = "[arguments that are nested too deeply to be shown]"
    return ParseDict({RAW: clean(text[:_MAX_TEXT])}, Struct())


class Joined:
    """Text in pieces, some of which begin or end with half a surrogate pair. bytes: so far."""

    def __init__(self) -> None:
        self._half = ""
        self.bytes = 0

    def add(self, piece: str) -> str:
        """Take the next piece; return what can be said now."""
        text = self._half + piece
        self._half = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        said = clean(text[: len(text) - len(self._half)])
        self.bytes += len(said.encode())
        return said

    def end(self) -> str:
        """Return what is left."""
        half, self._half = self._half, ""
        return clean(half)


def _refuse(constant: str) -> Never:
    raise ValueError(f"{constant} is not JSON")


def _fits(value: object, depth: int) -> bool:
    """Struct can say it, and every protobuf reader can read that."""
    match value:
        case dict():
            return depth > 0 and all(
                _fits(key, depth) and _fits(item, depth - 1) for key, item in value.items()
            )
        case list():
            return depth > 0 and all(_fits(item, depth - 1) for item in value)
        case str():
            return clean(value) == value
        case bool() | None:
            return True
        case int():
            return abs(value) < 10**300
        case float():
            return math.isfinite(value)
        case _:
            return False
