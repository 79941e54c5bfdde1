"""Exports a conversation as Markdown or JSON, piece by piece as its entries come."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Final

from google.protobuf.message import Message

from callboard.v1.chat_pb2 import AskEvent, FileDiff, HistoryEntry, SessionInfo
from callboard_service.terminal.layout import attachment_text
from callboard_service.terminal.plain import as_dict
from callboard_service.terminal.text import compact, error_line, one_line

UNTITLED: Final = "(untitled)"

_SPLIT: Final = frozenset({"user_text", "assistant_text", "reasoning_text"})
"""Kinds of entries that the service splits if long: adjacent ones of one turn are one text."""


def title(info: SessionInfo) -> str:
    """Return the title of a conversation on one line, or UNTITLED."""
    return one_line(info.title) or UNTITLED


async def as_markdown(
    info: SessionInfo, entries: AsyncIterator[HistoryEntry]
) -> AsyncGenerator[str, None]:
    """Yield the conversation as Markdown, with all texts, tools, asks and errors in order."""
    yield f"# {title(info)}"
    last = ("", "")
    async for entry in entries:
        kind = entry.WhichOneof("entry") or ""
        if kind in _SPLIT and entry.turn_id and (kind, entry.turn_id) == last:
            yield str(getattr(entry, kind))
        else:
            yield f"\n\n{_section(entry)}"
        last = (kind, entry.turn_id)
    yield "\n"


async def as_json(
    info: SessionInfo, entries: AsyncIterator[HistoryEntry]
) -> AsyncGenerator[str, None]:
    """Yield the conversation as JSON, with the contract's field names."""
    # Everything except the closing brace; the entries go before it.
    yield _json(info).removesuffix("\n}") + ',\n  "entries": '
    async for piece in json_list(entries, 1):
        yield piece
    yield "\n}\n"


async def json_list(messages: AsyncIterator[Message], depth: int = 0) -> AsyncGenerator[str, None]:
    """Yield a JSON list of the messages, indented as by `json`.

    depth: the nesting depth of the list itself.
    """
    indent = "\n" + "  " * depth
    before = "["
    async for message in messages:
        # In JSON a newline is never part of a string.
        yield before + f"{indent}  " + _json(message).replace("\n", f"{indent}  ")
        before = ","
    yield "[]" if before == "[" else f"{indent}]"


def _json(message: Message) -> str:
    return json.dumps(as_dict(message), ensure_ascii=False, indent=2)


def _section(entry: HistoryEntry) -> str:
    match entry.WhichOneof("entry"):
        case "user_text":
            said = [entry.user_text] if entry.user_text else []
            return "\n\n".join(["## You", *said, *map(attachment_text, entry.attachments)])
        case "assistant_text":
            return f"## Reply\n\n{entry.assistant_text}"
        case "reasoning_text":
            return f"## Reasoning\n\n{entry.reasoning_text}"
        case "tool_call":
            call = entry.tool_call
            return f"**Tool** `{call.name} {compact(call.arguments)}`"
        case "tool_result":
            result = entry.tool_result
            kind = "Tool failed" if result.is_error else "Result"
            return "\n\n".join(
                [
                    f"**{kind}**",
                    _fenced(result.output),
                    *(_changes(diff) for diff in result.diffs),
                    *map(attachment_text, result.attachments),
                ]
            )
        case "ask":
            return "\n\n".join(_ask(entry.ask))
        case "ask_closed":
            answers = ", ".join(one_line(answer) for answer in entry.ask_closed.answers)
            return f"**Answered** {answers}" if answers else "**Not answered**"
        case "error" if entry.error.code == "CANCELLED":
            return f"*(cancelled: {one_line(entry.error.message)})*"
        case "error":
            return f"**Error** {error_line(entry.error)}"
        case _:
            return "*(an entry that this version does not know)*"


def _ask(ask: AskEvent) -> Iterator[str]:
    yield f"**Asked** {one_line(ask.title)}"
    if ask.detail.strip():
        yield _fenced(ask.detail)
    if ask.options:
        yield "\n".join(f"{number}. {one_line(o)}" for number, o in enumerate(ask.options, 1))


def _changes(diff: FileDiff) -> str:
    return f"**Changed** {one_line(diff.path)}\n\n{_fenced(diff.patch.rstrip(), 'diff')}"


def _fenced(text: str, language: str = "") -> str:
    """Return a code block whose fence does not occur in the text."""
    longest = max((len(run) for run in _runs(text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _runs(text: str) -> list[str]:
    return [run for run in "".join(c if c == "`" else " " for c in text).split() if run]
