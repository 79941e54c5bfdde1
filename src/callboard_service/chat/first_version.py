"""What clients of the contract's first version get: the kinds and fields that it has.

Clients of later versions name "follow" in their Hello. Two messages keep their new fields, as the
contract allows: Welcome with its Limits, and ChatCompleted.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeVar

from google.protobuf.message import Message

from callboard.v1.chat_pb2 import (
    AskClosed,
    AskEvent,
    ChatNotice,
    HistoryEntry,
    SessionInfo,
    ToolCallEvent,
    ToolResultEvent,
)

M = TypeVar("M", bound=Message)

ADDED: Final[Mapping[type[Message], tuple[str, ...]]] = {
    SessionInfo: ("state", "parent_id", "archived", "features"),
    HistoryEntry: ("completed", "turn_id", "attachments"),
    ChatNotice: ("keep_text_bytes",),
    ToolCallEvent: ("title", "kind", "locations"),
    ToolResultEvent: ("diffs", "attachments"),
    AskEvent: ("expires_at", "choices"),
    AskClosed: ("answered",),
}
"""The fields that were added since, by type."""

_NEW_ENTRIES: Final = frozenset({"reasoning_text", "ask", "ask_closed"})
"""Kinds of history entry that were added since."""


def of_first_version(message: M) -> M:
    """Return a copy without the fields that were added since; the message if it has none."""
    added = ADDED.get(type(message))
    if added is None:
        return message
    copy = type(message)()
    copy.CopyFrom(message)
    for name in added:
        copy.ClearField(name)
    return copy


def old_entries(entries: Iterable[HistoryEntry]) -> Iterator[HistoryEntry]:
    """Yield a page's entries of known kinds; texts of one reply that become neighbours are joined.

    Of joined entries, the first keeps its id.
    """
    text: HistoryEntry | None = None
    turn = ""
    for entry in entries:
        kind = entry.WhichOneof("entry")
        if kind in _NEW_ENTRIES:
            continue
        if text is not None:
            if kind == "assistant_text" and entry.turn_id and entry.turn_id == turn:
                text.assistant_text += entry.assistant_text
                continue
            yield text
            text = None
        old = of_first_version(entry)
        match kind:
            case "tool_call":
                old.tool_call.CopyFrom(of_first_version(old.tool_call))
            case "tool_result":
                old.tool_result.CopyFrom(of_first_version(old.tool_result))
            case "assistant_text":
                text, turn = old, entry.turn_id
                continue
            case _:
                pass
        yield old
    if text is not None:
        yield text
