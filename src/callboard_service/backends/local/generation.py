"""One reply of the model's process: the lines that request it, and its events. No I/O."""

import asyncio
import json
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from actors import Code, Failure

Event: TypeAlias = Mapping[str, object]
Turn: TypeAlias = tuple[str, str]
"""The role (`user` or `assistant`) and the text."""

MAX_HELD_EVENTS: Final = 65_536
MAX_HELD_BYTES: Final = 4 * 1024 * 1024
"""Limits for the waiting events of one reply; only a reply without end reaches them."""

_SMALLEST_PROMPT: Final = 64 * 1024
_LARGEST_PROMPT: Final = 8 * 1024 * 1024
_BYTES_PER_TOKEN: Final = 16
_BYTES_PER_MESSAGE: Final = 48
"""Overhead of a message, apart from its text, in the line that carries it."""

_FASTER: Final = "the reply arrives faster than the client reads it"


class Generation:
    """One reply of the model. Its events wait here, within bounds, until they are taken."""

    def __init__(self) -> None:
        self.number = 0
        """The reply's id in the process that makes it."""
        self._events: deque[tuple[Event, int]] = deque()
        self._bytes = 0
        self._failure: Failure | None = None
        self._filled = asyncio.Event()

    def put(self, event: Event, size: int = 0) -> bool:
        """Add an event whose line has `size` bytes; return False if the reply is over.

        An event beyond the limits ends the reply with RESOURCE_EXHAUSTED.
        """
        if self._failure is not None:
            return False
        if len(self._events) >= MAX_HELD_EVENTS or self._bytes + size > MAX_HELD_BYTES:
            self._events.clear()
            self._bytes = 0
            self.fail(Failure(Code.RESOURCE_EXHAUSTED, _FASTER, retryable=True))
            return False
        self._events.append((event, size))
        self._bytes += size
        self._filled.set()
        return True

    def fail(self, failure: Failure) -> None:
        """End the reply with `failure`, after the events that still wait."""
        self._failure = self._failure or failure
        self._filled.set()

    async def next(self) -> Event:
        """Wait for the next event and return it. Raises the Failure that ended the reply."""
        while not self._events:
            if (failure := self._failure) is not None:
                raise Failure(failure.code, failure.message, retryable=failure.retryable)
            self._filled.clear()
            await self._filled.wait()
        event, size = self._events.popleft()
        self._bytes -= size
        return event


def largest_prompt(context: int) -> int:
    """Return how many bytes of a conversation to send at most to a model of `context` tokens."""
    return min(max(context * _BYTES_PER_TOKEN, _SMALLEST_PROMPT), _LARGEST_PROMPT)


def fitting(turns: Sequence[Turn], at_most: int) -> tuple[list[Turn], int]:
    """Return the newest turns that are worth sending, and how many older ones are left out.

    The result starts with a user turn. at_most: bytes of the line that carries the turns. Raises
    Failure: INVALID_ARGUMENT if the newest turn alone is larger.
    """
    left, kept = at_most, 0
    for _, text in reversed(turns):
        left -= _weigh(text, left)
        if left < 0:
            break
        kept += 1
    if not kept:
        message = f"the message is too large for the model: at most {at_most} bytes"
        raise Failure(Code.INVALID_ARGUMENT, message)
    start = len(turns) - kept
    while start and turns[start][0] != "user":
        start += 1
    return list(turns[start:]), start


def chat_line(number: int, turns: Sequence[Turn], max_tokens: int) -> bytes:
    """Return the line that asks the process to answer the last of these turns."""
    messages = [{"role": role, "content": text} for role, text in turns]
    return line({"op": "chat", "id": number, "max_tokens": max_tokens, "messages": messages})


def line(command: Mapping[str, object]) -> bytes:
    """Encode a command for the process: JSON in UTF-8 on one line."""
    return _encoded(command) + b"\n"


def _weigh(text: str, enough: int) -> int:
    """Return the bytes that a turn takes in the line; a result above `enough` may be too low."""
    if len(text) > enough:
        return len(text)
    return len(_encoded(text)) + _BYTES_PER_MESSAGE


def _encoded(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode(errors="replace")
