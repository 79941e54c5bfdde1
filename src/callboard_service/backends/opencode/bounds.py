"""What one reply may take: a server that has lost the thread would go on for ever."""

from collections.abc import Sized
from typing import Final

from actors import Code, Failure

MAX_REPLY_BYTES: Final = 4 * 1024 * 1024
"""Bytes of the text of one reply, in UTF-8; as many of its reasoning, and of each tool's output."""

MAX_TRACKED: Final = 10_000
"""Of each kind of thing that is remembered of one reply: messages, parts, tool calls, asks."""

MAX_OPEN_ASKS: Final = 256
"""Questions of one reply that may be open at once."""

MAX_OPTIONS: Final = 64 * 1024
"""Characters of the options of one request."""


def too_long(what: str) -> Failure:
    """Return the Failure that ends a reply whose text does not end."""
    message = f"the {what} is longer than {MAX_REPLY_BYTES} bytes"
    return Failure(Code.RESOURCE_EXHAUSTED, message)


def check_room(tracked: Sized, what: str) -> None:
    """Raise Failure, RESOURCE_EXHAUSTED, if nothing may be added to what is tracked."""
    if len(tracked) >= MAX_TRACKED:
        message = f"the reply is longer than {MAX_TRACKED} {what}"
        raise Failure(Code.RESOURCE_EXHAUSTED, message)


def cut(text: str) -> str:
    """Return a tool's output, or its beginning and a mark if it is too long."""
    if len(text) <= MAX_REPLY_BYTES // 4:  # at most four bytes each
        return text
    data = text.encode(errors="replace")
    if len(data) <= MAX_REPLY_BYTES:
        return text
    return data[:MAX_REPLY_BYTES].decode(errors="ignore") + "… [the rest was too long]"
