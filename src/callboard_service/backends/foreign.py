"""Make text and tool arguments from models, servers and agents valid for the contract.

All backends use this. Protobuf rejects a lone half of a surrogate pair, which JavaScript produces
when it cuts a string, and protobuf readers reject messages that are nested too deeply.
"""

import json
import math
import re
from typing import Final, Never

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.struct_pb2 import Struct

RAW: Final = "arguments"
"""The key that holds arguments which are not a JSON object, or which Struct cannot represent."""

MAX_DEPTH: Final = 24
"""Levels of a tool call's arguments; deeper ones are shown as text. A level takes up to three
nested messages (Struct, entry, Value), and protobuf readers stop at 100."""

_MAX_TEXT: Final = 64 * 1024
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def clean(text: str) -> str:
    """Return the text with U+FFFD for each lone surrogate, which protobuf would reject."""
    if _SURROGATE.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def as_struct(text: str) -> Struct:
    """Parse tool arguments in JSON and return them as a Struct.

    A text that is not a JSON object, is nested too deeply or does not fit into a Struct is returned
    as text under the key `RAW`. A blank text yields an empty Struct.
    """
    if not text.strip():
        return Struct()
    try:
        value: object = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        value = None
    exact = _exact(value)  # compared with None below, as an empty Struct is falsy
    return ParseDict({RAW: clean(text)}, Struct()) if exact is None else exact


def struct_of(value: object) -> Struct:
    """Return decoded tool arguments as a Struct.

    Arguments that are not an object, are nested too deeply or do not fit into a Struct are returned
    as text under the key `RAW`, cut to 65,536 characters. None yields an empty Struct.
    """
    if value is None:
        return Struct()
    if (exact := _exact(value)) is not None:
        return exact
    try:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    except (ValueError, TypeError, RecursionError):
        text = "[arguments nested too deeply to show]"
    return ParseDict({RAW: clean(text[:_MAX_TEXT])}, Struct())


def _exact(value: object) -> Struct | None:
    """Return an object as a Struct, or None if it is not an object or Struct cannot hold it."""
    try:
        if isinstance(value, dict) and _fits(value, MAX_DEPTH):
            return ParseDict(value, Struct())
    except (ValueError, RecursionError, ParseError):
        pass
    return None


class Joined:
    """Joins pieces of text that may be cut within a surrogate pair.

    bytes: the UTF-8 size of the text returned by `add` so far. half: of a pair, kept until the rest
    comes.
    """

    def __init__(self) -> None:
        self.half = ""
        self.bytes = 0

    def add(self, piece: str) -> str:
        """Take the next piece and return the text that is complete, without a trailing half."""
        if not self.half and piece.isascii():
            self.bytes += len(piece)
            return piece
        text = self.half + piece
        self.half = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        said = clean(text[: len(text) - len(self.half)])
        self.bytes += len(said.encode())
        return said

    def end(self) -> str:
        """Return the rest: U+FFFD if half of a pair is left, otherwise nothing."""
        half, self.half = self.half, ""
        return clean(half)


def _refuse(constant: str) -> Never:
    raise ValueError(f"{constant} is not JSON")


def _fits(value: object, depth: int) -> bool:
    """Return whether Struct can hold the value and every protobuf reader can read the result."""
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
