"""Convert the chunks of a streamed chat completion into reply events. No I/O.

Servers agree on little more than `choices[0].delta.content`: everything else may be absent, null or
somewhere else. Anything in an unknown form is ignored.
"""

import math
from typing import Final, TypeAlias

from callboard.v1.chat_pb2 import (
    ChatToken,
    ReasoningToken,
    UsageEvent,
)
from callboard_service.backends.base import ReplyEvent
from callboard_service.backends.foreign import Joined
from callboard_service.backends.openai.errors import error_in
from callboard_service.backends.openai.refusals import Refusals, Refused
from callboard_service.backends.openai.tool_calls import ToolCalls, TooManyCalls
from callboard_service.backends.stops import stopped

Chunk: TypeAlias = dict[str, object]

MAX_CALLS: Final = 128
MAX_ARGUMENTS: Final = 1024 * 1024
"""Maximum characters of all tool calls of one reply."""
MAX_TEXT: Final = 4 * 1024 * 1024
"""Maximum bytes of one reply's text in UTF-8, and the same for its reasoning; a model that has lost
the thread never stops."""

_SAYING: Final = ("content", "refusal", "reasoning", "reasoning_content", "tool_calls")

NO_REASON: Final = "the model server gave no reason for the end of the reply"
"""The `stop_detail` of a reply that may have been cut; llama-cpp-python ends some replies so."""

_MAX_COUNT: Final = 2**32 - 1

_FAILED: Final = frozenset(
    {
        "error", "network_error", "server_error", "internal_error", "insufficient_system_resource",
        "timeout", "abort", "aborted", "cancelled", "canceled",
    }
)  # fmt: skip
"""Reasons to end that mean that the server failed: the text so far is not a reply."""


def says_something(chunk: Chunk) -> bool:
    """Return whether a chunk has content, an error or an end; one with only a role has not."""
    if error_in(chunk) is not None:
        return True
    choice = _choice(chunk)
    if choice.get("finish_reason") or choice.get("error"):
        return True
    said = choice.get("delta") or choice.get("message")
    return isinstance(said, dict) and any(said.get(key) for key in _SAYING)


class Completion:
    """Takes the chunks of one answer.

    finished: the model has given its reason to end; only usage may follow. said: a counter that
    grows with every chunk that has content or the first reason to end. doubtful: the reason to end
    came in a chunk with content, so more may follow. failure: set if the server failed; raise it
    after yielding the events that `take` returned.
    """

    def __init__(self, refusals: Refusals) -> None:
        self._refusals = refusals
        self._text = Joined()
        self._reasoning = Joined()
        self.said = 0
        self.doubtful = False
        self.failure: Refused | None = None
        self._calls = ToolCalls(MAX_CALLS, MAX_ARGUMENTS)
        self._reason = ""
        self._input_tokens = 0
        self._output_tokens = 0

    @property
    def finished(self) -> bool:
        """Whether the model has given its reason to end."""
        return bool(self._reason)

    def take(self, chunk: Chunk | str) -> list[ReplyEvent]:
        """Return the events of a chunk, or of one that is nothing but this text.

        Raises Refused for an error or if a limit is exceeded.
        """
        if isinstance(chunk, str):
            text = self.take_text(chunk)
            return [ChatToken(text=text)] if text else []
        if (error := error_in(chunk)) is not None:
            raise self._refusals.of_error(error)
        self._count(chunk.get("usage"))
        choice = _choice(chunk)
        if choice.get("error"):
            raise self._refusals.of_error(choice["error"])
        self._count(choice.get("usage"))
        said = self.said
        delta = choice.get("delta")
        # A non-streamed answer has `message` in place of `delta`. Some servers send both in the
        # last chunk; `message` then repeats the whole text.
        if not delta and not said:
            delta = choice.get("message")
        events = self._take_delta(delta) if isinstance(delta, dict) else []
        self.said += len(events)
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason:
            self._end_with(reason, with_content=self.said != said)
        return events

    def take_text(self, text: str) -> str:
        """Return the token of a chunk that is nothing but text; empty if half a character is left.

        Raises Refused if the reply becomes too long.
        """
        joined = self._text
        if joined.half or not text.isascii():
            text = joined.add(text)
            if not text:
                return ""
        else:  # what `add` would do
            joined.bytes += len(text)
        if joined.bytes > MAX_TEXT:
            raise self._refusals.too_long("reply", MAX_TEXT)
        self.said += 1
        return text

    def _take_delta(self, delta: Chunk) -> list[ReplyEvent]:
        events: list[ReplyEvent] = []
        content = delta.get("content")
        # Some servers send the same text under both names.
        thought = _text(delta.get("reasoning_content")) or _text(delta.get("reasoning"))
        if reasoning := self._reasoning.add(thought + _thinking(content)):
            if self._reasoning.bytes > MAX_TEXT:
                raise self._refusals.too_long("reasoning", MAX_TEXT)
            events.append(ReasoningToken(text=reasoning))
        events += self._token(_text(content) + _text(delta.get("refusal")))
        self._add_calls(delta.get("tool_calls"))
        return events

    def _end_with(self, reason: str, *, with_content: bool) -> None:
        """Record the reason to end, and a failure if the reason means one."""
        if reason.strip().lower() in _FAILED:
            self.failure = self._refusals.of_reason(reason)
        self.said += not self._reason
        # One server sends it with every chunk (ollama/ollama#4357), others with the last content.
        self.doubtful = with_content
        self._reason = reason

    def end(self, context: int = 0) -> list[ReplyEvent]:
        """Return the last events: the rest of the text, tool calls, usage, and ChatCompleted.

        context: the size of the model's context in tokens, or 0 if unknown. It is needed to tell
        a full context from a reply of maximum length; most servers have one word for both.
        """
        events: list[ReplyEvent] = []
        if reasoning := self._reasoning.end():
            events.append(ReasoningToken(text=reasoning))
        if rest := self._text.end():
            events.append(ChatToken(text=rest))
        events += self._calls.events()
        if used := self._input_tokens + self._output_tokens:
            events.append(UsageEvent(context_used=used, context_size=context))
        if 0 < context <= self._input_tokens + self._output_tokens and self._reason == "length":
            self._reason = "context_full"
        events.append(
            stopped(
                self._reason or NO_REASON,
                input_tokens=self._input_tokens,
                output_tokens=self._output_tokens,
            )
        )
        return events

    def _token(self, piece: str) -> list[ReplyEvent]:
        text = self._text.add(piece)
        if not text:
            return []
        if self._text.bytes > MAX_TEXT:
            raise self._refusals.too_long("reply", MAX_TEXT)
        return [ChatToken(text=text)]

    def _count(self, usage: object) -> None:
        if isinstance(usage, dict):
            sent = usage.get("prompt_tokens", usage.get("input_tokens"))
            made = usage.get("completion_tokens", usage.get("output_tokens"))
            self._input_tokens = _number(sent, self._input_tokens)
            self._output_tokens = _number(made, self._output_tokens)

    def _add_calls(self, deltas: object) -> None:
        try:
            self.said += self._calls.add(deltas)
        except TooManyCalls as error:
            raise self._refusals.malformed(str(error)) from None


def _text(value: object) -> str:
    """Return a text, or the joined texts of a list of parts; empty for anything else."""
    if isinstance(value, list):
        parts = (part.get("text") for part in value if isinstance(part, dict))
        return "".join(part for part in parts if isinstance(part, str))
    return value if isinstance(value, str) else ""


def _choice(chunk: Chunk) -> Chunk:
    """Return the first choice of a chunk, or an empty one if there is none."""
    choices = chunk.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    return choice if isinstance(choice, dict) else {}


def _thinking(content: object) -> str:
    """Return the thoughts in a list of parts, the form used by Mistral's reasoning models."""
    if not isinstance(content, list):
        return ""
    parts = [part for part in content if isinstance(part, dict) and part.get("type") == "thinking"]
    return "".join(_text(part.get("thinking")) for part in parts)


def _number(value: object, before: int) -> int:
    """Return a count, which may be of any type; `before` if it is not a valid number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        return before
    return min(int(value), _MAX_COUNT)
