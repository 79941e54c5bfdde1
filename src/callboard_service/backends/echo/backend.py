"""The backend `echo`: it sends the text back word by word, and directives do everything else.

It needs no model and serves tests, benchmarks and first steps. Its conversations are kept in
memory, or in a file if the data folder was configured.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Final, Literal, NoReturn

from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from actors import Burst, Code, Failure
from callboard.v1.chat_pb2 import (
    AskClosed,
    AskEvent,
    ChatCompleted,
    ChatToken,
    ReasoningToken,
    StopReason,
    ToolCallEvent,
    ToolResultEvent,
)
from callboard_service.backends.base import Health, Prompt, ReplyEvent
from callboard_service.backends.echo import directives as say
from callboard_service.backends.stored import StoredConversations

_RETRYABLE: Final = frozenset({Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED, Code.ABORTED})
_NUMBERED: Final = 1000

_OPTIONS: Final = {"permission": ["once", "always", "reject"], "question": ["yes", "no", "maybe"]}
_KINDS: Final = {
    "permission": AskEvent.KIND_PERMISSION,
    "question": AskEvent.KIND_QUESTION,
}


class EchoBackend(StoredConversations):
    """Replies with the text that it was sent."""

    name = "echo"
    holds_place = False

    def __init__(
        self, report: Callable[[str], None], path: Path | Literal[":memory:"] = ":memory:"
    ) -> None:
        super().__init__(path, report)
        self._texts = [f"{number:03} " for number in range(_NUMBERED)]
        self._numbered = [ChatToken(text=text) for text in self._texts]

    def spec(self) -> None:
        """Return None: replies need no actor."""

    def health(self) -> Health:
        """Return ready while the conversations can be used."""
        return Health(self.is_open, "sends back what it is sent")

    async def reply(self, prompt: Prompt) -> AsyncGenerator[ReplyEvent | Burst[ReplyEvent], None]:
        """Carry out the steps of the text one by one."""
        sent = 0
        delay: float | None = None
        stop: StopReason.ValueType = StopReason.STOP_REASON_END_TURN
        for number, step in enumerate(say.parse(prompt.text), start=1):
            match step:
                case say.Delay(milliseconds):
                    delay = milliseconds / 1000
                case say.Text():
                    for word in step.words():
                        if delay is not None:
                            await asyncio.sleep(delay)
                        sent += 1
                        yield ChatToken(text=word)
                case say.Repeat(times) if delay is None:
                    sent += times
                    yield Burst(self._tokens(times))
                case say.Repeat(times):
                    for token in self._tokens(times):
                        await asyncio.sleep(delay or 0)
                        sent += 1
                        yield token
                case say.Stop(reason):
                    stop = reason
                    break
                case say.Error() | say.Crash():
                    _fail(step)
                case _:
                    async for event in self._events(step, f"{number}", prompt):
                        yield event
        words = len(prompt.text.split())
        yield ChatCompleted(input_tokens=words, output_tokens=sent, stop_reason=stop)

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
                ask_id = f"{prompt.turn_id}-{key}"
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
