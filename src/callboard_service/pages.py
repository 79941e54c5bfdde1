"""Builds pages of lists and histories: bounded in bytes, continued by a token. No I/O."""

import re
from collections.abc import Iterable
from typing import Final

from google.protobuf.message import Message

from actors import Code, Failure
from callboard.v1.chat_pb2 import HistoryEntry, SessionInfo, SessionList

DEFAULT_PAGE: Final = 200
"""Entries of a page if the client sets no limit."""

LARGEST_PAGE: Final = 1000
"""The most entries of a page."""

PAGE_BYTES: Final = 512 * 1024
"""The most encoded bytes of a page's entries. A page has at least one entry, whatever its size."""

SHORT_PAGE_BYTES: Final = 32 * 1024
"""The same while memory is short."""

MAX_ENTRY_BYTES: Final = 8 * 1024 * 1024 - 64 * 1024
"""The most encoded bytes of one entry. A larger one is cut; see `shorten`."""

TURNS_BYTES: Final = 16 * 1024 * 1024
"""Bytes of UTF-8 of the turns that a model is given, unless its backend asks for fewer."""

_FIELD_BYTES: Final = 6
"""The most bytes that tag and length of an entry take inside its page."""

_MARK_BYTES: Final = 128
"""Bytes reserved for the mark at the end of a text that was cut."""

_TOKEN: Final = re.compile(r"(-?[0-9]{1,18})\.([A-Za-z0-9_]{1,80})", re.ASCII)


class PageBudget:
    """Counts the encoded bytes of a page."""

    def __init__(self, at_most_bytes: int) -> None:
        self._left = at_most_bytes
        self._empty = True

    def admits(self, entry: Message) -> bool:
        """Count `entry` and return whether it fits. The first one always does."""
        self._left -= entry.ByteSize() + _FIELD_BYTES
        fits = self._left >= 0 or self._empty
        self._empty = False
        return fits


def encode_position(updated_at: int, key: str) -> str:
    """Return the page token that continues after the conversation with this time and key."""
    return f"{updated_at}.{key}"


def decode_position(page: str) -> tuple[int, str]:
    """Return the time and the key in a page token. Raises Failure: INVALID_ARGUMENT."""
    found = _TOKEN.fullmatch(page)
    if found is None:
        raise bad_page()
    return int(found[1]), found[2]


def bad_page() -> Failure:
    """Return the Failure for a page token that does not belong to the list."""
    return Failure(Code.INVALID_ARGUMENT, "the page token does not belong to this list")


def page_of(
    conversations: Iterable[tuple[SessionInfo, str]], limit: int, at_most_bytes: int
) -> SessionList:
    """Return a page of the first conversations, with the token that continues after the last one.

    conversations: pairs of a conversation and the token that continues after it; at most one pair
    beyond the page is consumed. limit: the most conversations; 0: no limit but `at_most_bytes`.
    """
    budget, page, last = PageBudget(at_most_bytes), SessionList(), ""
    for info, token in conversations:
        if (limit and len(page.sessions) >= limit) or not budget.admits(info):
            page.next_page = last
            break
        page.sessions.append(info)
        last = token
    return page


def shorten(entry: HistoryEntry, at_most_bytes: int) -> None:
    """Cut the entry's text so that the entry has at most `at_most_bytes` encoded bytes.

    A mark at the end of the text says how many bytes of UTF-8 are left out. A tool call, which has
    no text, loses its arguments. A tool result loses its diffs and attachments before any text. An
    ask is not cut.
    """
    excess = entry.ByteSize() - at_most_bytes
    if excess <= 0:
        return
    kind = entry.WhichOneof("entry")
    match kind:
        case "user_text":
            entry.user_text = _cut(entry.user_text, excess)
        case "assistant_text":
            entry.assistant_text = _cut(entry.assistant_text, excess)
        case "reasoning_text":
            entry.reasoning_text = _cut(entry.reasoning_text, excess)
        case "tool_result":
            del entry.tool_result.diffs[:], entry.tool_result.attachments[:]
            excess = entry.ByteSize() - at_most_bytes
            if excess > 0:
                entry.tool_result.output = _cut(entry.tool_result.output, excess)
        case "error":
            entry.error.message = _cut(entry.error.message, excess)
        case "tool_call":
            size = entry.tool_call.arguments.ByteSize()
            entry.tool_call.ClearField("arguments")
            entry.tool_call.arguments.update({"…": f"{size} bytes are left out"})
        case _:
            pass


def _cut(text: str, excess: int) -> str:
    encoded = text.encode(errors="replace")
    kept = encoded[: max(len(encoded) - excess - _MARK_BYTES, 0)].decode(errors="ignore")
    return f"{kept}\n[… {len(encoded) - len(kept.encode())} bytes are left out here]"
