"""The arguments of a tool call, which a model writes as JSON, as the contract's Struct."""

import json
import math
from typing import Final, Never

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.struct_pb2 import Struct

RAW: Final = "arguments"
"""The key under which arguments are shown that are no JSON object, or none that Struct can say."""

# A level is up to three nested messages (Struct, entry, Value), and protobuf's readers stop at 100.
_MAX_DEPTH: Final = 24


def clean(text: str) -> str:
    """The text with U+FFFD for each half of a surrogate pair, which protobuf refuses."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def as_struct(text: str) -> Struct:
    """The arguments; those that are no JSON object as they are, under the key `RAW`.

    None at all are an empty object.
    """
    if not text.strip():
        return Struct()
    try:
        value = json.loads(text, parse_constant=_refuse)
        if isinstance(value, dict) and _fits(value, _MAX_DEPTH):
            return ParseDict(value, Struct())
    except (ValueError, RecursionError, ParseError):
        pass
    return ParseDict({RAW: clean(text)}, Struct())


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
