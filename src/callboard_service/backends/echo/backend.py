"""The backend `echo`: it sends the text back word by word, and directives do everything else.

It needs no model and serves tests, benchmarks and first steps. Its conversations are kept in
memory, or in a file if the data folder was configured.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Final, Literal, NoReturn

from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from actors import Burst, Code, Failure, Texts
from callboard.v1.chat_pb2 import (
    AskClosed,
    AskEvent,
    Attachment,
    ChatCompleted,
    ChatNotice,
    ChatToken,
    Command,
    CommandList,
    OptionChoice,
    OptionList,
    PlanEntry,
    PlanEvent,
    ReasoningToken,
    SessionOption,
    SteerEvent,
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
_AT_ONCE: Final = 4096
"""Tokens of a Repeat that are made together."""
_MODEL: Final = "model"
_LOUD: Final = "loud"
_SHOUT: Final = "shout"
_END: Final = say.Stop(StopReason.STOP_REASON_END_TURN)

_OPTIONS: Final = {"permission": ["once", "always", "reject"], "question": ["yes", "no", "maybe"]}
_KINDS: Final = {
    "permission": AskEvent.KIND_PERMISSION,
    "question": AskEvent.KIND_QUESTION,
}


class EchoBackend(StoredConversations):
    """Replies with the text that it was sent."""

    name = "echo"
    features: Collection[str] = (
        "commands", "fork", "images", "options", "search", "steer", "uploads"
    )  # fmt: skip

    def __init__(
        self, report: Callable[[str], None], path: Path | Literal[":memory:"] = ":memory:"
    ) -> None:
        super().__init__(path, report)
        self._handed: dict[str, asyncio.Queue[SteerEvent]] = {}
        """For each running turn, the messages that were handed to it."""
        self._texts = [f"{number:03} " for number in range(_NUMBERED)]

    def spec(self) -> None:
        """Return None: replies need no actor."""

    def health(self) -> Health:
        """Return ready while the conversations can be used."""
        return Health(self.is_open, "sends back what it is sent")

    async def reply(  # noqa: C901 - a case for each directive
        self, prompt: Prompt
    ) -> AsyncGenerator[ReplyEvent | Burst[ReplyEvent], None]:
        """Carry out the steps of the text one by one."""
        handed = self._handed[prompt.turn_id] = asyncio.Queue()
        try:
            sent = 0
            delay: float | None = None
            tools = _Tools()
            attached = map(_attached, prompt.attachments)
            steps = [*attached, *say.parse(_spoken(prompt)), _END]
            for number, step in enumerate(steps, start=1):
                if not isinstance(step, say.Delay | say.Progress):
                    for result in tools.end():
                        yield result
                match step:
                    case say.Delay(milliseconds):
                        delay = milliseconds / 1000
                    case say.Repeat(times) if delay is None:
                        sent += times
                        for burst in self._bursts(times):
                            yield burst
                    case say.Text() | say.Word() | say.Repeat():
                        for token in self._separate(step):
                            if delay is not None:
                                await asyncio.sleep(delay)
                            sent += 1
                            yield token
                    case say.Stop(reason):
                        yield _completed(prompt, sent, reason)
                    case say.Error() | say.Crash():
                        _fail(step)
                    case say.Ask(kind):
                        async for event in _ask(kind, f"{prompt.turn_id}-{number}", prompt):
                            yield event
                    case say.Steer():
                        message = await handed.get()
                        yield message
                        yield ChatToken(text=message.text)
                        sent += 1
                    case _:
                        if isinstance(step, say.Progress) and delay is not None:
                            await asyncio.sleep(delay)
                        yield _event(step, tools, f"call-{number}")
                if isinstance(step, say.Stop):
                    return
        finally:
            del self._handed[prompt.turn_id]

    def check_attachments(self, attachments: Sequence[Attachment]) -> None:
        """Do nothing: the reply names whatever was attached."""

    async def steer(self, conversation_id: str, turn_id: str, message: SteerEvent) -> None:
        """Hand a message to the running reply, for its next `[[steer]]`."""
        handed = self._handed.get(turn_id)
        if handed is None:
            raise Failure(Code.FAILED_PRECONDITION, "the reply takes no messages")
        handed.put_nowait(message)

    async def options(self, conversation_id: str) -> OptionList:
        """Return the models: one repeats the text, the other one in capitals."""
        chosen: dict[str, str] = {}
        if conversation_id:
            chosen = await self.read(lambda store: store.choices(conversation_id))
        model = SessionOption(
            id=_MODEL,
            name="Model",
            category=SessionOption.CATEGORY_MODEL,
            current=chosen.get(_MODEL, self.name),
            choices=[
                OptionChoice(value=self.name, name="Echo", description="Repeats the text"),
                OptionChoice(value=_LOUD, name="Loud", description="Repeats it in capitals"),
            ],
        )
        return OptionList(options=[model])

    async def set_option(self, conversation_id: str, option_id: str, value: str) -> OptionList:
        """Choose the model. Raises Failure: INVALID_ARGUMENT for another option or value."""
        if option_id != _MODEL or value not in (self.name, _LOUD):
            raise Failure(Code.INVALID_ARGUMENT, "there is no such option, or no such choice")
        await self.write(lambda store: store.choose(conversation_id, option_id, value))
        return await self.options(conversation_id)

    async def commands(self, conversation_id: str) -> CommandList:
        """Return the one command: "/shout TEXT" is answered in capitals."""
        if conversation_id:
            await self.get(conversation_id)
        shout = Command(name=_SHOUT, description="Repeats the text in capitals", hint="text")
        return CommandList(commands=[shout])

    def _separate(self, step: say.Text | say.Word | say.Repeat) -> Iterator[ChatToken]:
        """Return the tokens of a step one by one."""
        if isinstance(step, say.Repeat):
            return (ChatToken(text=text) for text in self._numbered(step.count))
        if isinstance(step, say.Word):
            return iter([ChatToken(text=step.text)])
        return (ChatToken(text=word) for word in step.words())

    def _bursts(self, count: int) -> Iterator[Burst[ReplyEvent]]:
        """Yield `count` tokens, AT_ONCE at a time."""
        numbered = self._numbered(count)
        while texts := list(islice(numbered, _AT_ONCE)):
            yield Burst(Texts(ChatToken, texts))

    def _numbered(self, count: int) -> Iterator[str]:
        """Return the texts of `count` tokens, numbered from 0 modulo 1000."""
        return islice(cycle(self._texts), count)


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


def _completed(prompt: Prompt, sent: int, reason: StopReason.ValueType) -> ChatCompleted:
    said = len(prompt.text.split())
    return ChatCompleted(input_tokens=said, output_tokens=sent, stop_reason=reason)


def _attached(attachment: Attachment) -> say.Word:
    """Return what is said of an attachment."""
    name, media_type, size = attachment.name, attachment.media_type, attachment.size
    return say.Word(f"[{name} {media_type} {size} bytes]")


def _spoken(prompt: Prompt) -> str:
    """Return the text to reply to: in capitals if the model, or the command, is loud."""
    command, _, rest = prompt.text.partition(" ")
    if command == f"/{_SHOUT}":
        return rest.upper()
    loud = (prompt.model or prompt.choices.get(_MODEL)) == _LOUD
    return prompt.text.upper() if loud else prompt.text


def _fail(step: say.Error | say.Crash) -> NoReturn:
    """Raise the error or crash that the text asks for."""
    if isinstance(step, say.Crash):
        raise RuntimeError("the text asked for a crash")
    retryable = step.code in _RETRYABLE
    raise Failure(step.code, "the text asked for this error", retryable=retryable)
