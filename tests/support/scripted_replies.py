"""A backend whose replies are random sequences of every kind of event, repeatable by their seed."""

import asyncio
from collections.abc import AsyncGenerator
from random import Random

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
    ToolCallEvent,
    ToolProgressEvent,
    ToolResultEvent,
    UsageEvent,
)
from callboard_service.backends.base import Health, Prompt, ReplyEvent
from callboard_service.backends.stored import StoredConversations

WORDS = ("a", "bb", "é", "日本", "🙂", " ", "\n", "word ", "x" * 50)


class RandomReplies(StoredConversations):
    """Replies to a text that is a seed; conversations are in memory. Its own store, no model."""

    name = "random"

    def __init__(self) -> None:
        super().__init__(":memory:", lambda line: None)

    def spec(self) -> None:
        """Return None: replies need no actor."""

    def health(self) -> Health:
        return Health(self.is_open, "random replies")

    async def reply(self, prompt: Prompt) -> AsyncGenerator[ReplyEvent | Burst[ReplyEvent], None]:
        """Yield some thirty random events, then a random end."""
        random = Random(prompt.text)
        calls = 0
        for number in range(random.randint(0, 40)):
            if random.random() < 0.5:
                await asyncio.sleep(0)
            match random.choices(
                ("token", "burst", "reasoning", "call", "again", "progress", "result", "discard",
                 "notice", "plan", "usage", "ask"),
                (9, 4, 2, 2, 1, 2, 2, 3, 1, 1, 1, 1),
            )[0]:  # fmt: skip
                case "token":
                    yield ChatToken(text=random.choice(WORDS))
                case "burst":
                    some = random.choices(WORDS, k=random.randint(1, 30))
                    yield Burst([ChatToken(text=text) for text in some])
                case "reasoning":
                    yield ReasoningToken(text=random.choice(WORDS))
                case "call":
                    calls += 1
                    yield ToolCallEvent(call_id=f"{calls}", name="tool")
                case "again" if calls:
                    yield ToolCallEvent(call_id=f"{random.randint(1, calls)}", title=f"{number}")
                case "progress" if calls:
                    call = f"{random.randint(1, calls)}"
                    yield ToolProgressEvent(call_id=call, output=f"{number} ")
                case "result" if calls:
                    call = f"{random.randint(1, calls)}"
                    yield ToolResultEvent(call_id=call, output=f"done {number}")
                case "discard":
                    yield ChatNotice(message="again", discard_tokens=random.randint(1, 12))
                case "notice":
                    yield ChatNotice(message=f"notice {number}")
                case "plan":
                    yield PlanEvent(entries=[PlanEntry(text=f"step {number}")])
                case "usage":
                    yield UsageEvent(context_used=number)
                case "ask":
                    ask_id = f"{prompt.turn_id}-{number}"
                    yield AskEvent(ask_id=ask_id, kind=AskEvent.KIND_QUESTION, title="?")
                    answer = await prompt.answered()
                    yield AskClosed(ask_id=ask_id, answers=answer.answers, answered=True)
                case _:
                    pass  # it needs a tool call, and there was none yet
        end = random.random()
        if end < 0.1:
            raise Failure(Code.UNAVAILABLE, "the reply failed")
        if end < 0.15:
            raise RuntimeError("the reply crashed")
        yield ChatCompleted(output_tokens=calls)
