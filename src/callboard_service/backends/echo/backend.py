"""The backend `echo`: it sends the text back word by word, and directives do everything else.

It needs no model and serves tests, benchmarks and first steps. Its conversations are kept in
memory.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from itertools import compress, count, cycle, islice
from typing import Final, NoReturn

from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from actors import Burst, Code, Failure
from callboard.v1.chat_pb2 import (
    AskClosed,
    AskEvent,
    ChatCompleted,
    ChatToken,
    HistoryEntry,
    ReasoningToken,
    StopReason,
    ToolCallEvent,
    ToolResultEvent,
)
from callboard_service.backends.base import Health, Prompt, ReplyEvent
from callboard_service.backends.echo import directives as say
from callboard_service.backends.stored import CUT_OFF, StoredConversations, cut_off

_RETRYABLE: Final = frozenset({Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED, Code.ABORTED})
_NUMBERED: Final = 1000

NUMBER_BYTES: Final = 4
"""Bytes of a numbered token."""

MAX_KEPT: Final = 4 * 1024 * 1024
"""Bytes of text that the history keeps of one reply."""

MAX_KEPT_CALLS: Final = 1000
"""Tool calls that the history keeps of one reply, each with its result."""

CUT: Final = "… [the rest of this reply was too long to be kept]"

_OPTIONS: Final = {"permission": ["once", "always", "reject"], "question": ["yes", "no", "maybe"]}
_KINDS: Final = {
    "permission": AskEvent.KIND_PERMISSION,
    "question": AskEvent.KIND_QUESTION,
}


class _Said:
    """The text of one reply for the history: the first MAX_KEPT bytes, marked if it was cut."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._bytes = 0
        self.tokens = 0
        """The number of tokens sent, whether they are kept or not."""

    def add(self, word: str) -> None:
        """Add one token."""
        self.tokens += 1
        if self._bytes < MAX_KEPT:
            self._bytes += len(word) if word.isascii() else len(word.encode(errors="replace"))
            self._pieces.append(word)

    def add_numbered(self, words: Iterator[str], count: int) -> None:
        """Add the first `count` of these tokens, each of NUMBER_BYTES."""
        self.tokens += count
        kept = min(count, max(0, -(-(MAX_KEPT - self._bytes) // NUMBER_BYTES)))
        self._bytes += kept * NUMBER_BYTES
        self._pieces.extend(islice(words, kept))

    def entries(self) -> list[HistoryEntry]:
        """Return the text as one entry, or no entry if nothing was sent."""
        if not self._pieces:
            return []
        text = "".join(self._pieces)
        if self._bytes > MAX_KEPT or self.tokens > len(self._pieces):
            text = text.encode(errors="replace")[:MAX_KEPT].decode(errors="ignore") + CUT
        return [HistoryEntry(assistant_text=text)]


class EchoBackend(StoredConversations):
    """Replies with the text that it was sent."""

    name = "echo"
    holds_place = False

    def __init__(self, report: Callable[[str], None]) -> None:
        super().__init__(":memory:", report)
        self._texts = [f"{number:03} " for number in range(_NUMBERED)]
        self._numbered = [ChatToken(text=text) for text in self._texts]

    def spec(self) -> None:
        """Return None: replies need no actor."""

    def health(self) -> Health:
        """Return ready while the conversations can be used."""
        return Health(self.is_open, "sends back what it is sent")

    async def reply(self, prompt: Prompt) -> AsyncGenerator[ReplyEvent | Burst[ReplyEvent], None]:
        """Carry out the steps of the text one by one, and keep what was sent."""
        name, words, said = prompt.conversation_id, len(prompt.text.split()), _Said()
        await self.keep(name, HistoryEntry(user_text=prompt.text))
        entries: list[HistoryEntry] = []
        mark: list[HistoryEntry] = []
        delay: float | None = None
        stop: StopReason.ValueType = StopReason.STOP_REASON_END_TURN
        try:
            for number, step in enumerate(say.parse(prompt.text)):
                match step:
                    case say.Delay(milliseconds):
                        delay = milliseconds / 1000
                    case say.Text():
                        for word in step.words():
                            if delay is not None:
                                await asyncio.sleep(delay)
                            said.add(word)
                            yield ChatToken(text=word)
                    case say.Repeat(times) if delay is None:
                        pulled = count(1)
                        try:
                            yield Burst(compress(self._tokens(times), pulled))
                        finally:
                            said.add_numbered(cycle(self._texts), next(pulled) - 1)
                    case say.Repeat(times):
                        said_now = 0
                        try:
                            for token in self._tokens(times):
                                await asyncio.sleep(delay or 0)
                                said_now += 1
                                yield token
                        finally:
                            said.add_numbered(cycle(self._texts), said_now)
                    case say.Stop(reason):
                        stop = reason
                        break
                    case say.Error() | say.Crash():
                        _fail(step)
                    case _:
                        async for event in self._events(step, f"{number + 1}", prompt):
                            _keep(event, entries)
                            yield event
        except CUT_OFF:
            mark.append(cut_off())
            raise
        finally:
            await self.keep(name, *entries, *said.entries(), *mark)
        yield ChatCompleted(input_tokens=words, output_tokens=said.tokens, stop_reason=stop)

    def _tokens(self, count: int) -> Iterator[ChatToken]:
        """Return `count` tokens, numbered from 0 modulo 1000; the objects are shared."""
        return islice(cycle(self._numbered), count)

    async def _events(
        self, step: say.Tool | say.Ask | say.Reasoning, key: str, prompt: Prompt
    ) -> AsyncGenerator[ReplyEvent, None]:
        match step:
            case say.Reasoning(text):
                yield ReasoningToken(text=text)
            case say.Tool(name, arguments):
                struct = ParseDict(arguments, Struct())
                yield ToolCallEvent(call_id=f"call-{key}", name=name, arguments=struct)
                yield ToolResultEvent(call_id=f"call-{key}", output=f"{name} done")
            case say.Ask(kind):
                ask_id = f"ask-{key}"
                yield AskEvent(
                    ask_id=ask_id,
                    kind=_KINDS[kind],
                    title=f"A {kind}, asked by the text",
                    options=_OPTIONS[kind],
                )
                answer = await prompt.answered()
                while answer.ask_id != ask_id:
                    answer = await prompt.answered()
                yield AskClosed(ask_id=ask_id, answers=answer.answers)


def _fail(step: say.Error | say.Crash) -> NoReturn:
    """Raise the error or crash that the text asks for."""
    if isinstance(step, say.Crash):
        raise RuntimeError("the text asked for a crash")
    retryable = step.code in _RETRYABLE
    raise Failure(step.code, "the text asked for this error", retryable=retryable)


def _keep(event: ReplyEvent, entries: list[HistoryEntry]) -> None:
    """Add an event to the entries if it belongs in the history and the limit is not reached."""
    entry = _as_entry(event)
    if entry is not None and len(entries) < 2 * MAX_KEPT_CALLS:
        entries.append(entry)


def _as_entry(event: ReplyEvent) -> HistoryEntry | None:
    match event:
        case ToolCallEvent():
            return HistoryEntry(tool_call=event)
        case ToolResultEvent():
            return HistoryEntry(tool_result=event)
        case _:
            return None
