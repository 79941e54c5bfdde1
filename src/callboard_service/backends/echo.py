"""The backend `echo`: sends the text back word by word, with directives for everything else.

Needs no model; for tests, benchmarks and first steps. Its conversations live in memory.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from itertools import compress, count, cycle, islice
from typing import Final

from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from actors import Burst, Code, Failure, next_turn
from callboard.v1.chat_pb2 import (
    AskClosed,
    AskEvent,
    ChatCompleted,
    ChatToken,
    HistoryEntry,
    ReasoningToken,
    ToolCallEvent,
    ToolResultEvent,
)
from callboard_service.backends import directives as say
from callboard_service.backends.base import Health, Prompt, ReplyEvent
from callboard_service.backends.stored import CUT_OFF, StoredConversations, cut_off

_RETRYABLE: Final = frozenset({Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED, Code.ABORTED})
_NUMBERED: Final = 1000
_OPTIONS: Final = {"permission": ["once", "always", "reject"], "question": ["yes", "no", "maybe"]}
_KINDS: Final = {
    "permission": AskEvent.KIND_PERMISSION,
    "question": AskEvent.KIND_QUESTION,
}


class EchoBackend(StoredConversations):
    """Replies with what it was sent."""

    name = "echo"

    def __init__(self, report: Callable[[str], None]) -> None:
        super().__init__(":memory:", report)
        self._texts = [f"{number:03} " for number in range(_NUMBERED)]
        self._numbered = [ChatToken(text=text) for text in self._texts]
        self._pairs = list(zip(self._numbered, self._texts, strict=True))

    def spec(self) -> None:
        """Return None: replies need no actor."""

    def health(self) -> Health:
        """Ready while the conversations are open."""
        return Health(self.is_open, "sends back what it is sent")

    async def reply(self, prompt: Prompt) -> AsyncGenerator[ReplyEvent | Burst[ReplyEvent], None]:
        """Carry out the text, step by step, and keep what was said."""
        conversation_id = prompt.conversation_id
        await self.keep(conversation_id, HistoryEntry(user_text=prompt.text))
        said: list[str] = []
        entries: list[HistoryEntry] = []
        mark: list[HistoryEntry] = []
        delay: float | None = None
        try:
            for number, step in enumerate(say.parse(prompt.text)):
                match step:
                    case say.Delay(milliseconds):
                        delay = milliseconds / 1000
                    case say.Text():
                        for word in step.words():
                            if delay is not None:
                                await asyncio.sleep(delay)
                            said.append(word)
                            yield ChatToken(text=word)
                    case say.Repeat(times) if delay is None:
                        pulled = count(1)
                        try:
                            yield Burst(compress(self._tokens(times), pulled))
                        finally:
                            said.extend(islice(cycle(self._texts), next(pulled) - 1))
                    case say.Repeat(times):
                        for token, word in islice(cycle(self._pairs), times):
                            await (asyncio.sleep(delay) if delay else next_turn())
                            said.append(word)
                            yield token
                    case say.Error(code):
                        retryable = code in _RETRYABLE
                        raise Failure(code, "the text asked for this error", retryable=retryable)
                    case say.Crash():
                        raise RuntimeError("the text asked for a crash")
                    case _:
                        async for event in self._events(step, f"{number + 1}", prompt):
                            entry = _as_entry(event)
                            if entry is not None:
                                entries.append(entry)
                            yield event
        except CUT_OFF:
            mark.append(cut_off())
            raise
        finally:
            text = [HistoryEntry(assistant_text="".join(said))] if said else []
            await self.keep(conversation_id, *entries, *text, *mark)
        yield ChatCompleted(input_tokens=len(prompt.text.split()), output_tokens=len(said))

    def _tokens(self, count: int) -> Iterator[ChatToken]:
        """So many tokens, numbered from 0 modulo 1000; the objects are shared, not copied."""
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


def _as_entry(event: ReplyEvent) -> HistoryEntry | None:
    match event:
        case ToolCallEvent():
            return HistoryEntry(tool_call=event)
        case ToolResultEvent():
            return HistoryEntry(tool_result=event)
        case _:
            return None
