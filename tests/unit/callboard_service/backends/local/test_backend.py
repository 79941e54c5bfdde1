"""The backend `local` with a scripted model: turns, prompts and the history that is kept."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Any, Never

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import Actor, ActorSystem, Code, Failure
from actors.testing import actor_events, actor_system, manual_clock, settle
from callboard.v1.chat_pb2 import ChatToken, ReasoningToken, StopReason
from callboard_service.backends.base import Prompt
from callboard_service.backends.local import backend as local
from callboard_service.backends.local.backend import MAX_WAITING, LocalBackend
from callboard_service.backends.local.generation import chat_line, fitting, largest_prompt
from callboard_service.backends.local.process import Abandon, Generate, Loaded, ModelMessage
from callboard_service.log import make_log

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


async def unanswered() -> Never:
    raise AssertionError("nothing is asked here")


async def eventually(condition: Callable[[], bool]) -> None:
    """Let other tasks run until the condition holds, for at most 10 seconds."""
    async with asyncio.timeout(10):
        for _ in iter(condition, True):
            await asyncio.sleep(0)


class Talk:
    """A backend and its scripted model."""

    def __init__(self, backend: LocalBackend, model: Model) -> None:
        self.backend = backend
        self.model = model

    def reply(self, conversation: str, text: str, session: str = "a") -> AsyncGenerator[Any, None]:
        prompt = Prompt(conversation, text, "", unanswered, make_log("error"), session)
        return self.backend.reply(prompt)

    async def start(self, session: str, text: str = "hi") -> "asyncio.Task[list[Any]]":
        """Ask for a reply in a new conversation; return the task that collects its events."""
        conversation = (await self.backend.create("")).id

        async def collect() -> list[Any]:
            return [event async for event in self.reply(conversation, text, session)]

        return asyncio.create_task(collect())

    async def wait_for(self, count: int) -> None:
        """Wait until the model has received at least `count` requests."""
        await eventually(lambda: len(self.model.asked) >= count)

    async def wait_for_waiting(self, count: int) -> None:
        """Wait until at least `count` replies wait for the model."""
        await eventually(lambda: self.backend._places.waiting >= count)

    async def texts(self, conversation: str) -> list[str]:
        history = await self.backend.history(conversation, 0, "")
        return [entry.user_text or entry.assistant_text for entry in history.entries]


@pytest.fixture
async def talk(actor_system: ActorSystem, tmp_path: Path) -> AsyncIterator[Talk]:
    backend, model = LocalBackend(tmp_path / "m.gguf", tmp_path, make_log("error"), print), Model()
    await backend.open()
    backend._attach(actor_system.spawn(lambda: model, name="model"), Loaded(1024, 1))
    yield Talk(backend, model)
    await backend.close()


@pytest.mark.parametrize(
    ("finish", "tokens", "reason"),
    [
        ("stop", 7, StopReason.STOP_REASON_END_TURN),
        ("length", 1024, StopReason.STOP_REASON_MAX_TOKENS),
        ("length", 1023, StopReason.STOP_REASON_CONTEXT_FULL),
    ],
)
async def test_a_reply_says_why_it_is_not_longer(
    talk: Talk, finish: str, tokens: int, reason: "StopReason.ValueType"
) -> None:
    reply = await talk.start("a")
    await talk.wait_for(1)
    done = {"event": "done", "input_tokens": 1, "output_tokens": tokens, "finish": finish}
    talk.model.asked[0].generation.put(done)
    assert (await reply)[-1].stop_reason == reason


async def test_o7_thoughts_come_apart_from_the_reply_and_are_not_kept(talk: Talk) -> None:
    conversation = (await talk.backend.create("")).id

    async def collect() -> list[Any]:
        return [event async for event in talk.reply(conversation, "two and two?")]

    reply = asyncio.ensure_future(collect())
    await talk.wait_for(1)
    for event in (
        {"event": "thought", "text": "They ask for \ud83d four."},
        {"event": "token", "text": "four"},
        DONE,
    ):
        talk.model.asked[0].generation.put(event)
    thought, token, _ = await reply
    assert thought == ReasoningToken(text="They ask for \ufffd four.")
    assert token == ChatToken(text="four")
    assert await talk.texts(conversation) == ["two and two?", "four"]


async def test_o6_the_roles_alternate_after_a_reply_that_never_began(talk: Talk) -> None:
    conversation = (await talk.backend.create("")).id
    reply = asyncio.ensure_future(anext(talk.reply(conversation, "one")))
    await talk.wait_for(1)
    reply.cancel()
    await asyncio.gather(reply, return_exceptions=True)
    second = asyncio.ensure_future(anext(talk.reply(conversation, "two")))
    await talk.wait_for(2)
    assert talk.model.asked[1].turns == [("user", "one\n\ntwo")]
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)


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
    tasks = [await talk.start("a") for _ in range(MAX_WAITING + 1)]
    await talk.wait_for(1)
    await talk.wait_for_waiting(MAX_WAITING)
    conversation = (await talk.backend.create("")).id
    with pytest.raises(Failure, match="RESOURCE_EXHAUSTED") as refused:
        await anext(talk.reply(conversation, "one more"))
    assert refused.value.retryable
    assert await talk.texts(conversation) == []
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_message_too_large_for_the_context_is_refused_and_the_next_one_works(
    talk: Talk,
) -> None:
    conversation = (await talk.backend.create("")).id
    with pytest.raises(Failure, match="too large") as refused:
        await anext(talk.reply(conversation, "x" * 65_000 + "\n" * 1000))
    assert (refused.value.code, refused.value.retryable) == (Code.INVALID_ARGUMENT, False)
    assert talk.model.asked == []
    reply = asyncio.ensure_future(anext(talk.reply(conversation, "hi")))
    await talk.wait_for(1)
    assert talk.model.asked[0].turns == [("user", "hi")]
    talk.model.asked[0].generation.put({"event": "token", "text": "hello"})
    assert (await reply).text == "hello"


@pytest.mark.parametrize("id", [1, None])
async def test_a_message_that_the_process_refuses_is_not_given_to_it_again(
    talk: Talk, id: int | None
) -> None:
    conversation = (await talk.backend.create("")).id
    error = {"event": "error", "id": id, "code": "INVALID_ARGUMENT", "message": "too large"}
    reply = asyncio.ensure_future(anext(talk.reply(conversation, "long" * 1000)))
    await talk.wait_for(1)
    talk.model.asked[0].generation.put(error)
    with pytest.raises(Failure, match="INVALID_ARGUMENT"):
        await reply
    reply = asyncio.ensure_future(anext(talk.reply(conversation, "hi")))
    await talk.wait_for(2)
    assert talk.model.asked[1].turns == [("user", "hi")]
    talk.model.asked[1].generation.put({"event": "token", "text": "hello"})
    await reply


async def test_long_conversations_are_sent_as_their_newest_turns_with_a_notice(talk: Talk) -> None:
    conversation = (await talk.backend.create("")).id
    emoji, notice = "😀" * 7_000, None
    for number in range(1, 4):
        reply = talk.reply(conversation, f"{number}{emoji}")
        first = asyncio.ensure_future(anext(reply))
        await talk.wait_for(number)
        generation = talk.model.asked[-1].generation
        generation.put({"event": "trimmed", "messages": 1})
        generation.put({"event": "token", "text": "yes"})
        generation.put(DONE)
        notice = await first
        _ = [event async for event in reply]
    assert [text[0] for _, text in talk.model.asked[-1].turns] == ["2", "y", "3"]
    assert notice is not None
    assert "oldest 3 messages" in notice.message
    assert [text[0] for text in await talk.texts(conversation)] == ["1", "y", "2", "y", "3", "y"]


@pytest.mark.parametrize("size", [1, 1000])
async def test_a_message_is_kept_when_the_wait_for_its_reply_is_cancelled(
    talk: Talk, size: int
) -> None:
    tasks = [await talk.start("a")]
    await talk.wait_for(1)
    conversation = (await talk.backend.create("")).id
    waiting = asyncio.ensure_future(anext(talk.reply(conversation, "kept" * size)))
    await talk.wait_for_waiting(1)
    await settle()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert (await talk.texts(conversation)).count("kept" * size) == 1
    assert talk.backend._places.waiting == 0
    tasks[0].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_message_that_surely_fits_is_kept_before_its_reply_has_its_turn(talk: Talk) -> None:
    tasks = [await talk.start("a")]
    await talk.wait_for(1)
    conversation = (await talk.backend.create("")).id
    tasks.append(asyncio.ensure_future(anext(talk.reply(conversation, "kept"))))
    async with asyncio.timeout(10):
        while await talk.texts(conversation) != ["kept"]:
            pass
    talk.model.asked[0].generation.put(DONE)
    await talk.wait_for(2)
    assert talk.model.asked[1].turns == [("user", "kept")]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_an_endless_reply_ends_and_what_was_said_is_kept(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "MAX_REPLY_BYTES", 10)
    conversation = (await talk.backend.create("")).id
    reply = talk.reply(conversation, "hi")
    first = asyncio.ensure_future(anext(reply))
    await talk.wait_for(1)
    for _ in range(3):
        talk.model.asked[0].generation.put({"event": "token", "text": "éé"})
    await first
    with pytest.raises(Failure, match="longer than") as ended:
        _ = [event async for event in reply]
    assert (ended.value.code, ended.value.retryable) == (Code.RESOURCE_EXHAUSTED, False)
    assert await talk.texts(conversation) == ["hi", "éééé"]
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
