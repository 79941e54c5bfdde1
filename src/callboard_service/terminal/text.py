"""Foreign text, made fit for a terminal: what a model or a tool says must not steer it."""

import json
import re
from typing import Final

from google.protobuf.struct_pb2 import Struct, Value

from callboard.v1.chat_pb2 import ChatCompleted, ChatError, StopReason
from transport.errors import ConnectionClosed, SessionLost

LINE_LIMIT: Final = 200
"""Characters of a foreign text on one line."""

ERROR_LIMIT: Final = 600
"""Characters of an error's reason: a proxy puts last what the server behind it said."""

_RETURN: Final = re.compile("\r\n?")
# C0 without tab and newline, DEL, C1, what changes the direction of text, lone surrogates.
_STEERING: Final = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_DELETE: Final = 0x7F
_PICTURES: Final = 0x2400
_UNPRINTABLE: Final = "\N{REPLACEMENT CHARACTER}"


def tame(text: str) -> str:
    """The text with every character that steers a terminal made visible; tabs, newlines stay."""
    return _STEERING.sub(_picture, _RETURN.sub("\n", text))


def tame_json(text: str) -> str:
    """The JSON with every character that steers a terminal as its escape; it stays the same JSON.

    Its line breaks and indents stay; a control character is in JSON only as an escape anyway.
    """
    return _STEERING.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def _picture(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < ord(" "):
        return chr(_PICTURES + code)
    return "\N{SYMBOL FOR DELETE}" if code == _DELETE else _UNPRINTABLE


def one_line(text: str, limit: int = LINE_LIMIT) -> str:
    """The text on one line, cut to so many characters."""
    line = " ".join(tame(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def first_lines(text: str, count: int, limit: int = LINE_LIMIT) -> list[str]:
    """The first lines, each cut to so many characters; the last one says how many more."""
    lines = _lines(text)
    shown = [_cut(line, limit) for line in lines[:count]]
    more = len(lines) - count
    return [*shown, f"… {more} more {'line' if more == 1 else 'lines'}"] if more > 0 else shown


def last_lines(text: str, count: int, limit: int = LINE_LIMIT) -> list[str]:
    """The last lines, each cut to so many characters; a first one shows that there are more."""
    lines = _lines(text)
    shown = [_cut(line, limit) for line in lines[-count:]]
    return ["…", *shown] if len(lines) > count else shown


def _lines(text: str) -> list[str]:
    return tame(text).strip("\n").expandtabs().split("\n")


def _cut(line: str, limit: int) -> str:
    line = line.rstrip()
    return line if len(line) <= limit else line[: limit - 1] + "…"


def compact(arguments: Struct) -> str:
    """The arguments of a tool call as JSON on one line; empty if there are none."""
    if not arguments.fields:
        return ""
    # A Struct has no order of its own: sorted, two calls look the same.
    return one_line(json.dumps(members(arguments), ensure_ascii=False, sort_keys=True))


def members(struct: Struct) -> dict[str, object]:
    """Return a Struct as plain values, for `json`."""
    return {name: _plain(value) for name, value in struct.fields.items()}


def _plain(value: Value) -> object:
    match value.WhichOneof("kind"):
        case "number_value":
            # The contract knows no integers; a person expects them.
            number = value.number_value
            return int(number) if number.is_integer() else number
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return members(value.struct_value)
        case "list_value":
            return [_plain(item) for item in value.list_value.values]
        case _:
            return None


def error_line(error: ChatError) -> str:
    """The error on one line: its code, what it says, and whether trying again may help."""
    reason = one_line(error.message, ERROR_LIMIT) or "no reason given"
    line = f"{one_line(error.code) or 'UNKNOWN'}: {reason}"
    if error.code == "CANCELLED":
        return line
    if not error.retryable:
        return f"{line} (trying again will not help)"
    after = f", in {error.retry_after_ms / 1000:.3g} s" if error.retry_after_ms else ""
    return f"{line} (trying again may help{after})"


_STOPPED: Final = {
    StopReason.STOP_REASON_MAX_TOKENS: "the reply is cut off: it has reached the token limit",
    StopReason.STOP_REASON_REFUSAL: "the model refused to go on",
    StopReason.STOP_REASON_CONTENT_FILTER: "the reply was ended by a content filter",
    StopReason.STOP_REASON_MAX_STEPS: "the agent stopped: it has reached its step limit",
    StopReason.STOP_REASON_CONTEXT_FULL: "the reply is cut off: the model's context is full",
}


def why_stopped(completed: ChatCompleted) -> str:
    """Return why a reply ended, on one line; empty if it is simply complete."""
    if completed.stop_reason in _STOPPED:
        return _STOPPED[completed.stop_reason]
    detail = one_line(completed.stop_detail)
    return f"the reply has ended: {detail}" if detail else ""


def how_lost(error: SessionLost | ConnectionClosed) -> str:
    """Why no end of a reply will come, on one line."""
    if isinstance(error, SessionLost):
        return "the service lost the session"
    return one_line(str(error))


def clean_input(text: str) -> str:
    """What a person typed, as text that can be sent: bytes that were none are replaced."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
