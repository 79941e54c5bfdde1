"""Limits for one reply; a server or an agent that has lost the thread never stops."""

from collections.abc import Sized
from typing import Final

from actors import Code, Failure

MAX_REPLY_BYTES: Final = 4 * 1024 * 1024
"""Bytes of one reply's text in UTF-8; the same for its reasoning and for each tool's output."""

MAX_TRACKED: Final = 10_000
"""Maximum remembered items of each kind in one reply: messages, parts, tool calls, asks."""

MAX_OPEN_ASKS: Final = 256
"""Maximum open questions of one reply."""

MAX_OPTIONS: Final = 64 * 1024
"""Maximum characters of the options of one request."""


def too_long(what: str) -> Failure:
    """Return the Failure for a reply whose text is too long."""
    message = f"the {what} is longer than {MAX_REPLY_BYTES} bytes"
    return Failure(Code.RESOURCE_EXHAUSTED, message)


def check_room(tracked: Sized, what: str) -> None:
    """Raise Failure, RESOURCE_EXHAUSTED, if `tracked` is full."""
    if len(tracked) >= MAX_TRACKED:
        message = f"the reply has more than {MAX_TRACKED} {what}"
        raise Failure(Code.RESOURCE_EXHAUSTED, message)


def cut(text: str) -> str:
    """Return a tool's output, cut and marked if it is too long."""
    if len(text) <= MAX_REPLY_BYTES // 4:  # a character takes at most four bytes
        return text
    data = text.encode(errors="replace")
    if len(data) <= MAX_REPLY_BYTES:
        return text
    return data[:MAX_REPLY_BYTES].decode(errors="ignore") + "… [the rest was left out]"
