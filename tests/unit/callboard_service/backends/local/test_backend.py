"""The backend `local` with a scripted model: turns, prompts and the history that is kept."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import Actor, ActorSystem, Code, Failure
from actors.testing import actor_events, actor_system, manual_clock, settle
from callboard.v1.chat_pb2 import (
    ChatCompleted,
    ChatNotice,
    ChatToken,
    ReasoningToken,
    StopReason,
    UsageEvent,
)
from callboard_service.backends.local import backend as local
from callboard_service.backends.local.backend import MAX_WAITING, LocalBackend
from callboard_service.backends.local.generation import chat_line, fitting, largest_prompt
from callboard_service.backends.local.process import Abandon, Generate, Loaded, ModelMessage
from tests.support import conversing
from tests.support.conversing import LOG, SESSION, failure_of, reply_alone

__all__ = ["actor_events", "actor_system", "manual_clock"]

CHILD_LINE_LIMIT = 16 * 1024 * 1024
DONE = {"event": "done", "input_tokens": 1, "output_tokens": 1}


class Model(Actor[ModelMessage]):
    """Replaces the actor of the model's process, and records its requests."""

    def __init__(self) -> None:
        self.asked: list[Generate] = []
        self.abandoned = 0

    def receive(self, message: ModelMessage) -> None:
        match message:
            case Generate():
                self.asked.append(message)
                message.reply.send(None)
            case Abandon():
                self.abandoned += 1
            case _:
                raise AssertionError(message)


async def eventually(condition: Callable[[], bool]) -> None:
    """Let other tasks run until the condition holds, for at most 10 seconds."""
    async with asyncio.timeout(10):
        for _ in iter(condition, True):
            await asyncio.sleep(0)


class Talk(conversing.Talk[LocalBackend]):
    """A conversation with a backend, and the scripted model."""

    def __init__(self, made: conversing.Talk[LocalBackend], model: Model) -> None:
        super().__init__(made.backend, made.system, made.calls, made.conversation)
        self.model = model

    async def start(self, session: str, text: str = "hi") -> "asyncio.Task[list[Any]]":
        """Ask for a reply in a new conversation; return the task that collects its events."""

        async def collect() -> list[Any]:
            return [event async for event in reply_alone(self.backend, text, session=session)]

        return asyncio.create_task(collect())

    async def answer(self, number: int, *events: dict[str, Any]) -> None:
        """Have the model answer its request `number`, counted from 1, once it has received it."""
        await self.wait_for(number)
        for event in events:
            self.model.asked[number - 1].generation.put(event)

    async def wait_for(self, count: int) -> None:
        """Wait until the model has received at least `count` requests."""
        await eventually(lambda: len(self.model.asked) >= count)

    async def wait_for_waiting(self, count: int) -> None:
        """Wait until at least `count` replies wait for the model."""
        await eventually(lambda: self.backend._places.waiting >= count)


@pytest.fixture
async def talk(actor_system: ActorSystem, tmp_path: Path) -> AsyncIterator[Talk]:
    backend, model = LocalBackend(tmp_path / "m.gguf", tmp_path, LOG, print), Model()
    backend._attach(actor_system.spawn(lambda: model, name="model"), Loaded(1024, 1))
    async with conversing.conversing(backend, actor_system) as made:
        yield Talk(made, model)


@pytest.mark.parametrize(
    ("finish", "tokens", "reason"),
    [
        ("stop", 7, StopReason.STOP_REASON_END_TURN),
        ("length", 1024, StopReason.STOP_REASON_MAX_TOKENS),
        ("length", 1023, StopReason.STOP_REASON_CONTEXT_FULL),
    ],
)
async def test_a_reply_and_its_history_say_why_it_is_not_longer(
    talk: Talk, finish: str, tokens: int, reason: "StopReason.ValueType"
) -> None:
    """The last event of a reply has the reason why it ended, and so has its last entry."""
    reply = talk.send()
    done = {"event": "done", "input_tokens": 1, "output_tokens": tokens, "finish": finish}
    await talk.answer(1, {"event": "token", "text": "word"}, done)
    _, usage, completed = [event async for event in reply]
    assert usage == UsageEvent(context_used=1 + tokens, context_size=1024)
    assert isinstance(completed, ChatCompleted)
    assert (completed.stop_reason, completed.output_tokens) == (reason, tokens)
    said, answer = await talk.entries()
    assert not said.HasField("completed")
    assert answer.completed == completed


async def test_o7_thoughts_are_kept_apart_from_the_reply_and_not_sent_again(talk: Talk) -> None:
    """Thoughts are events and entries of their own, and the model gets none of them again."""
    reply = talk.send("two and two?")
    thought = {"event": "thought", "text": "They ask for \ud83d four."}
    await talk.answer(1, thought, {"event": "token", "text": "four"}, DONE)
    assert [event async for event in reply][:2] == [
        ReasoningToken(text="They ask for \ufffd four."),
        ChatToken(text="four"),
    ]
    assert await talk.kept() == ["two and two?", "~ They ask for \ufffd four.", "> four"]
    talk.send("and three?")
    await talk.wait_for(2)
    assert talk.model.asked[1].turns == [
        ("user", "two and two?"),
        ("assistant", "four"),
        ("user", "and three?"),
    ]


async def test_o6_the_roles_alternate_after_a_reply_that_never_began(talk: Talk) -> None:
    """A message whose reply was cancelled before its first word is joined to the next one."""
    reply = talk.send("one")
    await talk.wait_for(1)
    reply.cancel()
    failure, _ = await failure_of(reply)
    assert failure.code is Code.CANCELLED
    await talk.idle()
    talk.send("two")
    await talk.wait_for(2)
    assert talk.model.asked[1].turns == [("user", "one\n\ntwo")]
    assert await talk.kept() == ["one", "! CANCELLED", "two"]


async def test_another_client_s_reply_is_next_however_many_one_client_has_waiting(
    talk: Talk,
) -> None:
    greedy = [await talk.start("a", f"story {number}") for number in range(60)]
    await talk.wait_for(1)
    other = await talk.start("b", "hi")
    await talk.wait_for_waiting(60)
    assert len(talk.model.asked) == 1, "what waits is not sent"
    talk.model.asked[0].generation.put(DONE)
    await talk.wait_for(2)
    assert talk.model.asked[1].turns == [("user", "hi")]
    talk.model.asked[1].generation.put(DONE)
    await other
    for task in greedy:
        task.cancel()
    await asyncio.gather(*greedy, return_exceptions=True)
    assert talk.backend._places.free == 1


async def test_too_many_waiting_replies_are_refused_and_may_try_again(talk: Talk) -> None:
    """A client with MAX_WAITING waiting replies gets no more of them, which its history says."""
    tasks = [await talk.start(SESSION) for _ in range(MAX_WAITING + 1)]
    await talk.wait_for(1)
    await talk.wait_for_waiting(MAX_WAITING)
    refused, events = await talk.failure("one more")
    assert (refused.code, refused.retryable, events) == (Code.RESOURCE_EXHAUSTED, True, [])
    assert await talk.kept() == ["one more", "! RESOURCE_EXHAUSTED"]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_message_too_large_for_the_context_is_refused_and_the_next_one_works(
    talk: Talk,
) -> None:
    """The history keeps a message that is too large, with its error; later prompts do not."""
    large = "x" * 65_000 + "\n" * 1000
    refused, _ = await talk.failure(large)
    assert "too large" in refused.message
    assert (refused.code, refused.retryable) == (Code.INVALID_ARGUMENT, False)
    assert talk.model.asked == []
    assert await talk.kept() == [large, "! INVALID_ARGUMENT"]
    reply = talk.send("hi")
    await talk.answer(1, {"event": "token", "text": "hello"})
    assert talk.model.asked[0].turns == [("user", "hi")]
    assert await anext(reply) == ChatToken(text="hello")


@pytest.mark.parametrize("id", [1, None])
async def test_a_message_that_the_process_refuses_is_not_given_to_it_again(
    talk: Talk, id: int | None
) -> None:
    """The history keeps a message that the process refused; later prompts do not."""
    refusing = talk.send("long" * 1000)
    error = {"event": "error", "id": id, "code": "INVALID_ARGUMENT", "message": "too large"}
    await talk.answer(1, error)
    refused, _ = await failure_of(refusing)
    assert refused.code is Code.INVALID_ARGUMENT
    assert await talk.kept() == ["long" * 1000, "! INVALID_ARGUMENT"]
    reply = talk.send("hi")
    await talk.answer(2, {"event": "token", "text": "hello"})
    assert talk.model.asked[1].turns == [("user", "hi")]
    assert await anext(reply) == ChatToken(text="hello")


async def test_long_conversations_are_sent_as_their_newest_turns_with_a_notice(talk: Talk) -> None:
    """A prompt begins with a later message, and a notice counts those before it."""
    emoji = "😀" * 7_000
    answer = ({"event": "trimmed", "messages": 1}, {"event": "token", "text": "yes"}, DONE)
    events: list[Any] = []
    for number in range(1, 4):
        reply = talk.send(f"{number}{emoji}")
        await talk.answer(number, *answer)
        events = [event async for event in reply]
    assert [text[0] for _, text in talk.model.asked[-1].turns] == ["2", "y", "3"]
    assert isinstance(events[0], ChatNotice)
    assert "oldest 3 messages" in events[0].message
    kept = [text[:3] for text in await talk.kept()]
    assert kept == ["1😀😀", "> y", "2😀😀", "> y", "3😀😀", "> y"]


@pytest.mark.parametrize("size", [1, 1000])
async def test_a_message_is_kept_when_the_wait_for_its_reply_is_cancelled(
    talk: Talk, size: int
) -> None:
    """The history keeps the message of a reply that was cancelled while it waited its turn."""
    task = await talk.start("another")
    await talk.wait_for(1)
    waiting = talk.send("kept" * size)
    await talk.wait_for_waiting(1)
    await settle()
    waiting.cancel()
    cancelled, _ = await failure_of(waiting)
    assert cancelled.code is Code.CANCELLED
    await talk.idle()
    assert await talk.kept() == ["kept" * size, "! CANCELLED"]
    assert talk.backend._places.waiting == 0
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_message_is_kept_before_its_reply_has_its_turn(talk: Talk) -> None:
    """A message is in the history while its reply waits for the model."""
    task = await talk.start("another")
    await talk.wait_for(1)
    talk.send("kept")
    await talk.wait_for_waiting(1)
    assert await talk.kept() == ["kept"]
    await talk.answer(1, DONE)
    await talk.wait_for(2)
    assert talk.model.asked[1].turns == [("user", "kept")]
    await task


async def test_an_endless_reply_ends_and_what_was_said_is_kept(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reply beyond MAX_REPLY_BYTES fails, and the history keeps the text that was sent."""
    monkeypatch.setattr(local, "MAX_REPLY_BYTES", 10)
    reply = talk.send()
    await talk.answer(1, *[{"event": "token", "text": "éé"}] * 3)
    ended, events = await failure_of(reply)
    assert "longer than" in ended.message
    assert (ended.code, ended.retryable) == (Code.RESOURCE_EXHAUSTED, False)
    assert events == [ChatToken(text="éé")] * 2
    assert await talk.kept() == ["hi", "> éééé", "! RESOURCE_EXHAUSTED"]
    await settle()
    assert talk.model.abandoned == 1


TEXTS = st.text(st.sampled_from('a\n\0"\\😀é\x7f'), max_size=40) | st.text(max_size=40)


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), TEXTS), max_size=12), TEXTS)
def test_what_is_sent_is_one_line_of_utf8_within_the_limit(
    turns: list[tuple[str, str]], newest: str
) -> None:
    limit = 400
    turns.append(("user", newest))
    try:
        kept, left_out = fitting(turns, limit)
    except Failure as failure:
        assert failure.code is Code.INVALID_ARGUMENT
        assert len(json.dumps(newest).encode()) + 48 > limit
        return
    assert kept == turns[left_out:]
    assert kept[-1] == ("user", newest)
    assert left_out == 0 or kept[0][0] == "user"
    line = chat_line(1, kept, 1024)
    assert len(line) <= limit + 100
    assert line.count(b"\n") == 1
    messages = json.loads(line.decode("utf-8"))["messages"]
    assert [(message["role"], message["content"]) for message in messages] == kept


@pytest.mark.parametrize(
    ("context", "size"),
    [(0, 65_536), (1024, 65_536), (8192, 131_072), (10**6, 8 * 1024 * 1024)],
)
def test_prompts_are_bounded_by_the_context(context: int, size: int) -> None:
    assert largest_prompt(context) == size


def test_the_largest_prompt_is_within_the_limit_of_a_line() -> None:
    at_most = largest_prompt(10**9)
    for text in ("\0" * (at_most // 6 - 20), "😀" * (at_most // 4 - 20)):
        kept, _ = fitting([("user", "a")] * 200_000 + [("user", text)], at_most)
        assert at_most // 2 < len(chat_line(1, kept, 1024)) < CHILD_LINE_LIMIT
    kept, _ = fitting([("user", "a")] * 300_000, at_most)
    assert len(chat_line(1, kept, 1024)) < CHILD_LINE_LIMIT
