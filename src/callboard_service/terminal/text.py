"""Makes foreign text safe for a terminal, so that no model or tool can control the terminal."""

import json
import re
from typing import Final

from google.protobuf.struct_pb2 import Struct, Value

from callboard.v1.chat_pb2 import ChatCompleted, ChatError, StopReason, UsageEvent
from transport.errors import ConnectionClosed, NotRunning, SessionLost

LINE_LIMIT: Final = 200
"""The most characters of a foreign text on one line."""

ERROR_LIMIT: Final = 600
"""The same for an error's reason; longer, since a proxy quotes the server behind it at the end."""

_RETURN: Final = re.compile("\r\n?")
# C0 except tab and newline, DEL, C1, bidirectional controls, lone surrogates.
_STEERING: Final = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_DELETE: Final = 0x7F
_PICTURES: Final = 0x2400
_UNPRINTABLE: Final = "\N{REPLACEMENT CHARACTER}"


def tame(text: str) -> str:
    """Return the text with terminal control characters made visible, except tabs and newlines."""
    return _STEERING.sub(_picture, _RETURN.sub("\n", text))


def tame_json(text: str) -> str:
    """Return equivalent JSON text with every terminal control character escaped.

    Line breaks and indents stay. Inside strings JSON itself requires C0 characters to be escaped.
    """
    return _STEERING.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def _picture(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < ord(" "):
        return chr(_PICTURES + code)
    return "\N{SYMBOL FOR DELETE}" if code == _DELETE else _UNPRINTABLE


def one_line(text: str, limit: int = LINE_LIMIT) -> str:
    """Return the text on one line, cut to `limit` characters."""
    line = " ".join(tame(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def first_lines(text: str, count: int, limit: int = LINE_LIMIT) -> list[str]:
    """Return the first `count` lines, each cut to `limit` characters, and how many more there are.

    The number of further lines is on a line of its own at the end.
    """
    lines = _lines(text)
    shown = [_cut(line, limit) for line in lines[:count]]
    more = len(lines) - count
    return [*shown, more_lines(more)] if more > 0 else shown


def more_lines(count: int) -> str:
    """Return a line that says that so many more lines follow, which are not shown."""
    return f"… {count} more {'line' if count == 1 else 'lines'}"


def last_lines(text: str, count: int, limit: int = LINE_LIMIT) -> list[str]:
    """Return the last `count` lines, each cut to `limit` characters; "…" first if more precede."""
    lines = _lines(text)
    shown = [_cut(line, limit) for line in lines[-count:]]
    return ["…", *shown] if len(lines) > count else shown


def _lines(text: str) -> list[str]:
    return tame(text).strip("\n").expandtabs().split("\n")


def _cut(line: str, limit: int) -> str:
    line = line.rstrip()
    return line if len(line) <= limit else line[: limit - 1] + "…"


def compact(arguments: Struct) -> str:
    """Return the arguments of a tool call as JSON on one line; empty if there are none."""
    if not arguments.fields:
        return ""
    # A Struct has no defined order; sorting makes equal calls look the same.
    return one_line(json.dumps(members(arguments), ensure_ascii=False, sort_keys=True))


def members(struct: Struct) -> dict[str, object]:
    """Return a Struct as a dict of plain values, for `json`."""
    return {name: _plain(value) for name, value in struct.fields.items()}


def _plain(value: Value) -> object:
    match value.WhichOneof("kind"):
        case "number_value":
            # A Struct has no integers, but a person expects them.
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
    """Return the error on one line: its code, its message, and whether a retry may help."""
    reason = one_line(error.message, ERROR_LIMIT) or "no reason given"
    if error.code == "ABORTED" and not error.retryable:
        return f"interrupted: {reason}"
    line = f"{one_line(error.code) or 'UNKNOWN'}: {reason}"
    if error.code == "CANCELLED":
        return line
    if not error.retryable:
        return f"{line} (trying again will not help)"
    after = f", in {error.retry_after_ms / 1000:.3g} s" if error.retry_after_ms else ""
    return f"{line} (trying again may help{after})"


_STOPPED: Final = {
    StopReason.STOP_REASON_MAX_TOKENS: "the reply is cut off: it reached the token limit",
    StopReason.STOP_REASON_REFUSAL: "the model refused to continue",
    StopReason.STOP_REASON_CONTENT_FILTER: "the reply was ended by a content filter",
    StopReason.STOP_REASON_MAX_STEPS: "the agent stopped: it reached its step limit",
    StopReason.STOP_REASON_CONTEXT_FULL: "the reply is cut off: the model's context is full",
}


def why_stopped(completed: ChatCompleted) -> str:
    """Return on one line why a reply ended; empty if it is complete."""
    if completed.stop_reason in _STOPPED:
        return _STOPPED[completed.stop_reason]
    detail = one_line(completed.stop_detail)
    return f"the reply has ended: {detail}" if detail else ""


def is_nearly_full(usage: UsageEvent) -> bool:
    """Return whether a conversation uses so much of the model's context that a person should know.

    That is four fifths of it.
    """
    return 0 < usage.context_size * 4 <= usage.context_used * 5


def used(usage: UsageEvent) -> str:
    """Return on one line what a conversation has used; empty if nothing is known."""
    parts = []
    if usage.context_used:
        of = f" of {usage.context_size:,}" if usage.context_size else ""
        share = f" ({usage.context_used / usage.context_size:.0%})" if usage.context_size else ""
        parts.append(f"context {usage.context_used:,}{of} tokens{share}")
    if usage.cost:
        parts.append(f"cost {usage.cost:.4g} {one_line(usage.currency, 8)}".rstrip())
    return "; ".join(parts)


def how_lost(error: SessionLost | ConnectionClosed | NotRunning) -> str:
    """Return on one line why the reply was lost."""
    if isinstance(error, SessionLost):
        return "the service lost the session"
    return one_line(str(error))


def clean_input(text: str) -> str:
    """Return typed text in a form that can be sent: bytes that are not UTF-8 are replaced."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
