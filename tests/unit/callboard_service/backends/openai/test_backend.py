"""Replies, what is kept of them, retries and the choice of a model, over real HTTP."""

import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from callboard.v1.chat_pb2 import ChatCompleted, ChatNotice, ChatToken, StopReason, UsageEvent
from callboard_service.backends.openai.api import OpenAITimeouts
from callboard_service.backends.openai.backend import TRIES
from tests.support.conversing import text_of
from tests.support.openai.scripted_server import Exchange, ScriptedServer, never, refusing, saying
from tests.support.openai.talk import KEY, Talk, talking


async def test_a_reply_and_what_the_server_is_sent(server: ScriptedServer, talk: Talk) -> None:
    server.will(saying("He", "llo"), saying("Again"))
    events = await talk.all("hi")
    assert events == [
        ChatToken(text="He"),
        ChatToken(text="llo"),
        UsageEvent(context_used=10),
        ChatCompleted(input_tokens=7, output_tokens=3, stop_reason=StopReason.STOP_REASON_END_TURN),
    ]
    await talk.all("and now?", "large")
    first, second = server.chats
    assert first.headers["authorization"] == f"Bearer {KEY}"
    assert first.headers["accept-encoding"] == "identity"
    assert first.body["model"] == "small"
    assert first.body["stream"] is True
    assert second.body["model"] == "large"
    assert second.body["messages"] == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "and now?"},
    ]
    assert await talk.kept() == ["hi", "> Hello", "and now?", "> Again"]


@pytest.mark.parametrize("given", ["", "/", "/v1", "/v1/"])
@pytest.mark.parametrize("root", ["/v1", ""])
async def test_addresses_as_people_write_them(
    server: ScriptedServer, tmp_path: Path, given: str, root: str
) -> None:
    server.root = root
    server.will(saying("yes"), saying("yes"))
    async with talking(tmp_path, server.url + given) as talk:
        if root == "" and "v1" in given:
            server.root = "/v1"  # a path that was given is used as it is
        assert text_of(await talk.all(model="small")) == "yes"
        assert text_of(await talk.all(model="small")) == "yes"
    assert {exchange.path for exchange in server.chats} == {f"{server.root}/chat/completions"}


async def test_without_a_list_the_first_reply_finds_the_address(
    server: ScriptedServer, tmp_path: Path
) -> None:
    server.models = refusing(404)
    unknown = refusing(404, {"error": {"message": "no model m"}})
    async with talking(tmp_path, server.url, model="m") as talk:
        server.will(unknown, saying("yes"))
        failure, _ = await talk.failure()
        assert failure.message.endswith(": no model m")  # and not: no such address
        server.root = ""
        assert text_of(await talk.all()) == "yes"
        assert [chat.path for chat in server.chats] == ["/v1/chat/completions", "/chat/completions"]


async def test_an_address_of_another_shape_keeps_its_path_and_query(
    server: ScriptedServer, tmp_path: Path
) -> None:
    server.root = "/api/openai"
    server.will(saying("yes"))
    async with talking(tmp_path, server.url + "/api/openai/?api-version=3", key="") as talk:
        await talk.all()
    (exchange,) = server.chats
    assert exchange.path == "/api/openai/chat/completions?api-version=3"
    assert "authorization" not in exchange.headers


async def test_after_a_failed_reply_the_two_messages_are_one(
    server: ScriptedServer, talk: Talk
) -> None:
    server.will(refusing(500), saying("ok"))
    await talk.failure("one")
    await talk.all("two")
    assert server.chats[-1].body["messages"] == [{"role": "user", "content": "one\n\ntwo"}]
    assert await talk.kept() == ["one", "! UNAVAILABLE", "two", "> ok"]


async def test_b1_a_refused_message_is_marked_and_not_sent_again(
    server: ScriptedServer, talk: Talk
) -> None:
    filtered = {"error": {"message": "The response was filtered", "code": "content_filter"}}
    server.will(saying("one"), refusing(400, filtered), saying("two"))
    await talk.all("first")
    await talk.failure("bad")
    await talk.all("second")
    assert [message["content"] for message in server.chats[-1].body["messages"]] == [
        "first", "one", "second"
    ]  # fmt: skip
    assert await talk.kept() == ["first", "> one", "bad", "! INVALID_ARGUMENT", "second", "> two"]


TOO_LONG = refusing(
    400, {"error": {"message": "the request exceeds the available context size", "code": 400}}
)


async def test_b1_old_turns_are_dropped_when_the_context_is_full(
    server: ScriptedServer, talk: Talk
) -> None:
    for number in range(8):
        server.will(saying(f"answer {number}"))
        await talk.all(f"question {number} " + "x" * 100)
    server.will(TOO_LONG, TOO_LONG, saying("short"), saying("next"))
    events = await talk.all("hello?")
    assert text_of(events) == "short"
    notices = [event.message for event in events if isinstance(event, ChatNotice)]
    assert len(notices) == 2
    assert all("were left out" in notice for notice in notices)
    sizes = [len(chat.body["messages"]) for chat in server.chats]
    assert sizes[0] == 17
    assert sizes[0] > sizes[1] > sizes[2]
    assert all(chat.body["messages"][0]["role"] == "user" for chat in server.chats)
    # The size that fits is remembered, so the next message is not refused first.
    assert text_of(await talk.all("and now?")) == "next"
    assert len(server.chats) == 4
    assert len(server.chats[-1].body["messages"]) < sizes[1]


async def test_b1_a_message_too_long_by_itself_harms_none_that_follows(
    server: ScriptedServer, talk: Talk
) -> None:
    server.will(saying("hello"), TOO_LONG, TOO_LONG, saying("again"))
    await talk.all("hi")
    failure, _ = await talk.failure("x" * 1000)
    assert (failure.code.value, failure.retryable) == ("INVALID_ARGUMENT", False)
    assert text_of(await talk.all("hello?")) == "again"
    contents = [message["content"] for message in server.chats[-1].body["messages"]]
    assert contents == ["hi", "hello", "hello?"]


async def test_b2_a_repeat_takes_the_place_of_a_message_without_an_answer(
    server: ScriptedServer, talk: Talk
) -> None:
    server.will(refusing(500), refusing(400), saying("ok"), saying("again"))
    await talk.failure("one")
    await talk.failure("one")
    await talk.all("one")
    assert server.chats[-1].body["messages"] == [{"role": "user", "content": "one"}]
    assert await talk.kept() == ["one", "> ok"]
    await talk.all("one")
    assert await talk.kept() == ["one", "> ok", "one", "> again"]


async def test_a_server_that_refuses_to_count(server: ScriptedServer, talk: Talk) -> None:
    refusal = {"detail": [{"loc": ["body", "stream_options"], "msg": "extra"}]}
    server.will(refusing(422, refusal), saying("a", usage=None), saying("b", usage=None))
    completed = (await talk.all())[-1]
    assert (completed.input_tokens, completed.output_tokens) == (0, 0)
    await talk.all()
    asked = ["stream_options" in exchange.body for exchange in server.chats]
    assert asked == [True, False, False]


async def test_models(server: ScriptedServer, talk: Talk, tmp_path: Path) -> None:
    """The server decides which models exist; its list only gives a default and a hint."""
    unknown = refusing(404, {"error": {"message": "no model huge"}})
    server.will(unknown, saying("I am new"), saying("mine"), saying("mine"), saying("any"))
    failure, _ = await talk.failure(model="huge")
    assert failure.code.value == "NOT_FOUND"
    assert failure.message.endswith(": no model huge; it lists small, large")
    assert text_of(await talk.all(model="huge")) == "I am new"
    async with talking(tmp_path / "2", server.url, model="mine") as configured:
        await configured.all()
        await configured.all(model="mine")
    server.models = refusing(404)
    async with talking(tmp_path / "3", server.url) as unlisted:
        await unlisted.all(model="whatever")
        failure, _ = await unlisted.failure()
        assert failure.code.value == "FAILED_PRECONDITION"
        assert "CALLBOARD_OPENAI_MODEL" in failure.message
    asked = [chat.body["model"] for chat in server.chats]
    assert asked == ["huge", "huge", "mine", "mine", "whatever"]


@pytest.mark.parametrize(
    "models",
    [
        refusing(500),
        refusing(200, b"<html>", "text/html"),
        refusing(200, b"not json"),
        refusing(200, {"data": [{"id": 7}, None, {}]}),
        refusing(200, b"[" * (5 * 1024 * 1024)),
        refusing(302, Location="http://elsewhere.example/"),
        never,
    ],
)
async def test_an_unusable_list_of_models_does_not_prevent_a_reply(
    server: ScriptedServer, tmp_path: Path, models: Any
) -> None:
    server.models = models
    server.will(saying("ok"))
    patience = OpenAITimeouts(models=0.2 if models is never else 60.0)
    async with talking(tmp_path, server.url, model="mine", patience=patience) as talk:
        assert text_of(await talk.all()) == "ok"


async def test_busy_servers_are_tried_again_with_notices(
    server: ScriptedServer, talk: Talk
) -> None:
    async def reset(exchange: Exchange) -> None:
        exchange.cut()

    async def nothing(exchange: Exchange) -> None:
        await exchange.begin()

    server.will(refusing(429, Retry_After="4"), refusing(503), saying("ok"))
    events = await talk.all()
    assert [type(event) for event in events[:-2]] == [ChatNotice, ChatNotice, ChatToken]
    assert "(HTTP 429)" in events[0].message
    assert talk.pauses[0] == 4.0
    assert 0.0 < talk.pauses[1] < 3.0
    for script in (reset, nothing, refusing(502)):
        server.will(script, saying("ok"))
        assert [type(event) for event in await talk.all()][:2] == [ChatNotice, ChatToken]


async def test_the_number_of_tries_is_bounded(server: ScriptedServer, talk: Talk) -> None:
    server.will(*[refusing(503, {"error": "overloaded"})] * (TRIES + 1))
    failure, events = await talk.failure()
    assert (failure.code.value, failure.retryable) == ("UNAVAILABLE", True)
    assert len(server.chats) == TRIES
    assert [type(event) for event in events] == [ChatNotice], "the same is said once"


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_long_advice_is_passed_on(server: ScriptedServer, talk: Talk, form: str) -> None:
    advice = "11" if form == "seconds" else formatdate(time.time() + 60, usegmt=True)
    server.will(refusing(429, {"error": {"message": "slow down"}}, Retry_After=advice))
    failure, events = await talk.failure()
    assert failure.code.value == "RESOURCE_EXHAUSTED"
    assert failure.retryable
    assert 10_000 < failure.retry_after_ms <= 60_000
    assert (events, talk.pauses) == ([], [])
