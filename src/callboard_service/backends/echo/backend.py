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
    ChatNotice,
    ChatToken,
    PlanEntry,
    PlanEvent,
    ReasoningToken,
    StopReason,
    ToolCallEvent,
    ToolProgressEvent,
    ToolResultEvent,
    UsageEvent,
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

    async def reply(  # noqa: C901 - a case for each directive
        self, prompt: Prompt
    ) -> AsyncGenerator[ReplyEvent | Burst[ReplyEvent], None]:
        """Carry out the steps of the text one by one."""
        sent = 0
        delay: float | None = None
        tools = _Tools()
        steps = [*say.parse(prompt.text), say.Stop(StopReason.STOP_REASON_END_TURN)]
        for number, step in enumerate(steps, start=1):
            if not isinstance(step, say.Delay | say.Progress):
                for result in tools.end():
                    yield result
            match step:
                case say.Delay(milliseconds):
                    delay = milliseconds / 1000
                case say.Repeat(times) if delay is None:
                    sent += times
                    yield Burst(self._tokens(times))
                case say.Text() | say.Repeat():
                    for token in self._separate(step):
                        if delay is not None:
                            await asyncio.sleep(delay)
                        sent += 1
                        yield token
                case say.Stop(reason):
                    words = len(prompt.text.split())
                    yield ChatCompleted(input_tokens=words, output_tokens=sent, stop_reason=reason)
                    return
                case say.Error() | say.Crash():
                    _fail(step)
                case say.Ask(kind):
                    async for event in _ask(kind, f"{prompt.turn_id}-{number}", prompt):
                        yield event
                case _:
                    if isinstance(step, say.Progress) and delay is not None:
                        await asyncio.sleep(delay)
                    yield _event(step, tools, f"call-{number}")

    def _separate(self, step: say.Text | say.Repeat) -> Iterator[ChatToken]:
        """Return the tokens of a step one by one."""
        if isinstance(step, say.Repeat):
            return self._tokens(step.count)
        return (ChatToken(text=word) for word in step.words())

    def _tokens(self, count: int) -> Iterator[ChatToken]:
        """Return `count` tokens, numbered from 0 modulo 1000; the objects are shared."""
        return islice(cycle(self._numbered), count)


class _Tools:
    """The tool calls of one reply: the last one runs until its result."""

    def __init__(self) -> None:
        self._last = ""
        self._result: ToolResultEvent | None = None

    def call(self, step: say.Tool, call_id: str) -> ToolCallEvent:
        """Begin a call and return its event."""
        self._last = call_id
        self._result = ToolResultEvent(call_id=call_id, output=f"{step.name} done")
        struct = ParseDict(step.arguments, Struct())
        return ToolCallEvent(call_id=call_id, name=step.name, arguments=struct)

    def progress(self, text: str) -> ToolProgressEvent:
        """Return output of the last tool; of one without an id if none was called."""
        return ToolProgressEvent(call_id=self._last, output=text)

    def end(self) -> Iterator[ToolResultEvent]:
        """Yield the result of the tool that runs, if one does."""
        result, self._result = self._result, None
        if result is not None:
            yield result


async def _ask(
    kind: Literal["permission", "question"], ask_id: str, prompt: Prompt
) -> AsyncGenerator[ReplyEvent, None]:
    """Yield an ask, wait for its answer, and yield its end."""
    title = f"A {kind}, asked by the text"
    yield AskEvent(ask_id=ask_id, kind=_KINDS[kind], title=title, options=_OPTIONS[kind])
    answer = await prompt.answered()
    while answer.ask_id != ask_id:
        answer = await prompt.answered()
    yield AskClosed(ask_id=ask_id, answers=answer.answers, answered=True)


def _event(
    step: say.Tool | say.Progress | say.Reasoning | say.Plan | say.Usage | say.Notice,
    tools: _Tools,
    call_id: str,
) -> ReplyEvent:
    """Return the event of a step that is one. call_id: for a tool call."""
    match step:
        case say.Tool():
            return tools.call(step, call_id)
        case say.Progress(text):
            return tools.progress(text)
        case say.Reasoning(text):
            return ReasoningToken(text=text)
        case say.Plan(entries):
            pending = PlanEntry.STATUS_PENDING
            return PlanEvent(entries=[PlanEntry(text=text, status=pending) for text in entries])
        case say.Usage(used, size):
            return UsageEvent(context_used=used, context_size=size)
        case say.Notice(text, discard):
            return ChatNotice(message=text, discard_tokens=discard)


def _fail(step: say.Error | say.Crash) -> NoReturn:
    """Raise the error or crash that the text asks for."""
    if isinstance(step, say.Crash):
        raise RuntimeError("the text asked for a crash")
    retryable = step.code in _RETRYABLE
    raise Failure(step.code, "the text asked for this error", retryable=retryable)
