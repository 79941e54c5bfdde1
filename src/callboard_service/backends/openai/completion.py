"""What a streamed chat completion says, chunk by chunk, as events of a reply. No I/O.

Servers agree on little more than `choices[0].delta.content`: everything else may be absent, null,
or where another server has it. What has no known form says nothing.
"""

from io import StringIO
from typing import Final, TypeAlias

from callboard.v1.chat_pb2 import (
    ChatToken,
    HistoryEntry,
    ReasoningToken,
    ToolCallEvent,
)
from callboard_service.backends.base import ReplyEvent
from callboard_service.backends.openai.arguments import clean
from callboard_service.backends.openai.refusals import Refusals
from callboard_service.backends.openai.tool_calls import ToolCalls, TooManyCalls
from callboard_service.backends.stops import stopped

Chunk: TypeAlias = dict[str, object]

MAX_CALLS: Final = 128
MAX_ARGUMENTS: Final = 1024 * 1024
"""Characters of all tool calls of one reply."""
MAX_TEXT: Final = 4 * 1024 * 1024
"""Bytes of the text of one reply, in UTF-8, and as many of its reasoning: a model that has lost the
thread would go on for ever."""

_MAX_COUNT: Final = 2**32 - 1


class _Joined:
    """Text in pieces; some servers cut a surrogate pair between two of them. bytes: so far."""

    def __init__(self) -> None:
        self._half = ""
        self.bytes = 0

    def add(self, piece: str) -> str:
        """What can be said now."""
        text = self._half + piece
        self._half = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        said = clean(text[: len(text) - len(self._half)])
        self.bytes += len(said.encode())
        return said

    def end(self) -> str:
        """What is left."""
        half, self._half = self._half, ""
        return clean(half)


class Completion:
    """Takes the chunks of one answer and keeps what was said.

    finished: the model has said why it ended; only usage may still come. said: a count that grows
    with every chunk that says something of the reply, or how it ended for the first time.
    """

    def __init__(self, refusals: Refusals) -> None:
        self._refusals = refusals
        self._text = _Joined()
        self._reasoning = _Joined()
        self.said = 0
        self.ending: list[ReplyEvent] = []
        """What `end` has returned."""
        self._kept = StringIO()
        self._calls = ToolCalls(MAX_CALLS, MAX_ARGUMENTS)
        self._called: list[ToolCallEvent] = []
        self._reason = ""
        self._input_tokens = 0
        self._output_tokens = 0

    @property
    def finished(self) -> bool:
        """The model has ended."""
        return bool(self._reason)

    def take(self, chunk: Chunk) -> list[ReplyEvent]:
        """What a chunk says. Raises Refused for an error object and for what has no bounds."""
        if error := chunk.get("error") or (chunk.get("object") == "error" and chunk):
            raise self._refusals.of_error(error)
        self._count(chunk.get("usage"))
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            return []
        # An answer that is not streamed has `message` where a chunk has `delta`.
        delta = choice.get("delta") or choice.get("message")
        events: list[ReplyEvent] = []
        if isinstance(delta, dict):
            # Some send one text under both names.
            thought = _text(delta.get("reasoning_content")) or _text(delta.get("reasoning"))
            if reasoning := self._reasoning.add(thought):
                if self._reasoning.bytes > MAX_TEXT:
                    raise self._refusals.too_long("reasoning", MAX_TEXT)
                events.append(ReasoningToken(text=reasoning))
            events += self._token(_text(delta.get("content")) + _text(delta.get("refusal")))
            self._add_calls(delta.get("tool_calls"))
        reason = choice.get("finish_reason")
        if isinstance(reason, str):
            self.said += bool(reason and not self._reason)
            self._reason = reason or self._reason
        self.said += len(events)
        return events

    def end(self) -> list[ReplyEvent]:
        """Return what is left when the model has ended: tool calls, the counts, why it stopped."""
        events: list[ReplyEvent] = []
        if reasoning := self._reasoning.end():
            events.append(ReasoningToken(text=reasoning))
        if rest := self._text.end():
            self._kept.write(rest)
            events.append(ChatToken(text=rest))
        self._called = self._calls.events()
        events += self._called
        events.append(
            stopped(
                self._reason,
                input_tokens=self._input_tokens,
                output_tokens=self._output_tokens,
            )
        )
        self.ending = events
        return events

    def entries(self) -> list[HistoryEntry]:
        """What was said, for the history."""
        said = self._kept.getvalue()
        text = [HistoryEntry(assistant_text=said)] if said else []
        return text + [HistoryEntry(tool_call=call) for call in self._called]

    def _token(self, piece: str) -> list[ReplyEvent]:
        text = self._text.add(piece)
        if not text:
            return []
        if self._text.bytes > MAX_TEXT:
            raise self._refusals.too_long("reply", MAX_TEXT)
        self._kept.write(text)
        return [ChatToken(text=text)]

    def _count(self, usage: object) -> None:
        if isinstance(usage, dict):
            self._input_tokens = _number(usage.get("prompt_tokens"), self._input_tokens)
            self._output_tokens = _number(usage.get("completion_tokens"), self._output_tokens)

    def _add_calls(self, deltas: object) -> None:
        try:
            self.said += self._calls.add(deltas)
        except TooManyCalls as error:
            raise self._refusals.malformed(str(error)) from None


def _text(value: object) -> str:
    """A text, or the texts of a list of parts."""
    if isinstance(value, list):
        return "".join(_text(part.get("text")) for part in value if isinstance(part, dict))
    return value if isinstance(value, str) else ""


def _number(value: object, before: int) -> int:
    return min(value, _MAX_COUNT) if type(value) is int and value >= 0 else before
