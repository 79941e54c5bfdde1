"""Makes text and arguments from models, servers and agents fit for the contract, for all backends.

Protobuf rejects half a surrogate pair, which JavaScript makes when it cuts a text, and its readers
reject messages that are nested too deeply.
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
    """Return arguments in JSON; what is no JSON object, or too deep, as text under the key `RAW`.

    An empty text is an empty object.
    """
    if not text.strip():
        return Struct()
    try:
        value: object = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        value = None
    exact = _exact(value)  # an empty one is false
    return ParseDict({RAW: clean(text)}, Struct()) if exact is None else exact


def struct_of(value: object) -> Struct:
    """Return decoded arguments; what is no object, or too deep, as text under the key `RAW`.

    None is an empty object.
    """
    if value is None:
        return Struct()
    if (exact := _exact(value)) is not None:
        return exact
    try:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    except (ValueError, TypeError, RecursionError):
        text = "[arguments that are nested too deeply to be shown]"
    return ParseDict({RAW: clean(text[:_MAX_TEXT])}, Struct())


def _exact(value: object) -> Struct | None:
    """Return an object as a Struct; None if it is none, or none that Struct can say."""
    try:
        if isinstance(value, dict) and _fits(value, MAX_DEPTH):
            return ParseDict(value, Struct())
    except (ValueError, RecursionError, ParseError):
        pass
    return None


class Joined:
    """Joins pieces of text that may be cut within a surrogate pair. bytes: of the text so far."""

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
    """Return whether Struct can hold the value, and every protobuf reader can read that."""
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
