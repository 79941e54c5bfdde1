"""A reply without content, and the places and memory that replies take, are bounded."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from callboard.v1.chat_pb2 import (
    ChatCompleted,
    ChatNotice,
    ChatToken,
    HistoryEntry,
    UsageEvent,
)
from callboard_service.backends.openai.api import OpenAITimeouts
from callboard_service.backends.openai.backend import SMALL_PROMPT
from tests.support.conversing import reply_alone, text_of
from tests.support.openai.scripted_server import Exchange, Script, ScriptedServer, saying
from tests.support.openai.talk import Talk, talking

SIGNS: dict[str, Callable[[Exchange], Awaitable[None]]] = {
    "comments": lambda exchange: exchange.raw(b": keep-alive\n\n"),
    "empty-deltas": lambda exchange: exchange.delta(),
    "empty-chunks": lambda exchange: exchange.chunk(),
    "usage": lambda exchange: exchange.chunk(choices=[], usage={"prompt_tokens": 1}),
    "reasons": lambda exchange: exchange.delta("stop"),
    "other-events": lambda exchange: exchange.raw(b"event: ping\ndata: {}\n\n"),
}


async def signs_for_ever(exchange: Exchange, sign: str) -> None:
    """Send signs of life until the client has gone."""
    while not exchange.gone.is_set():
        await SIGNS[sign](exchange)
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("sign", SIGNS)
async def test_signs_of_life_after_the_end_do_not_hold_the_reply(
    server: ScriptedServer, tmp_path: Path, sign: str
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.delta("stop", content="ok")
        await signs_for_ever(exchange, sign)

    server.will(script)
    async with talking(
        tmp_path, server.url, patience=OpenAITimeouts(farewell=0.2, doubt=0.2)
    ) as talk:
        async with asyncio.timeout(20):
            events = await talk.all()
        kinds = [type(event) for event in events if not isinstance(event, UsageEvent)]
        assert kinds == [ChatToken, ChatCompleted]


@pytest.mark.parametrize("sign", sorted({*SIGNS} - {"reasons"}))
@pytest.mark.parametrize("said", ["", "Well"])
async def test_signs_of_life_without_content_hold_the_reply_for_a_bounded_time(
    server: ScriptedServer, tmp_path: Path, sign: str, said: str
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.begin()
        if said:
            await exchange.delta(content=said)
        await signs_for_ever(exchange, sign)

    server.will(script)
    async with talking(tmp_path, server.url, patience=OpenAITimeouts(content=0.3)) as talk:
        async with asyncio.timeout(20):
            failure, events = await talk.failure()
        assert (failure.code.value, failure.retryable) == ("DEADLINE_EXCEEDED", True)
        assert text_of(events) == said


async def test_a_slow_server_that_shows_signs_of_life_is_waited_for(
    server: ScriptedServer, tmp_path: Path
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.begin()
        for _ in range(8):
            await asyncio.sleep(0.25)
            await exchange.raw(b": processing\n\n")
        await exchange.delta(content="there")
        await exchange.finish()

    server.will(script)
    async with talking(tmp_path, server.url, patience=OpenAITimeouts(silence=1.5)) as talk:
        assert text_of(await talk.all()) == "there"


async def test_content_after_the_reason_is_waited_for_anew(
    server: ScriptedServer, tmp_path: Path
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.begin()
        for word in ("a", "b", "c", "d"):
            await exchange.delta("stop", content=word)
            await asyncio.sleep(0.4)
        await exchange.gone.wait()

    server.will(script)
    async with talking(
        tmp_path, server.url, patience=OpenAITimeouts(farewell=0.1, doubt=1.5)
    ) as talk:
        assert text_of(await talk.all()) == "abcd"


def paused(opened: asyncio.Semaphore) -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.delta(content="word")
        opened.release()
        await exchange.gone.wait()

    return script


async def test_paused_replies_of_one_client_leave_connections_to_others(
    server: ScriptedServer, tmp_path: Path
) -> None:
    opened = asyncio.Semaphore(0)
    async with talking(tmp_path, server.url, connections=6) as talk:
        server.will(*[paused(opened)] * 2, saying("hello"), *[paused(opened)] * 4)
        greedy = [reply_alone(talk.backend, session="greedy") for _ in range(6)]
        first = [asyncio.ensure_future(anext(reply)) for reply in greedy]
        for _ in range(2):
            await opened.acquire()
        events = [event async for event in reply_alone(talk.backend, session="other")]
        assert text_of(events) == "hello"
        assert len(server.chats) == 3
        said = [task for task in first if task.done() and isinstance(task.result(), ChatToken)]
        assert len(said) <= 2
        for task in first:
            task.cancel()
        await asyncio.gather(*first, return_exceptions=True)
        for reply in greedy:
            await reply.aclose()
        assert talk.backend._places.free == 6


async def test_a_message_is_kept_before_its_reply_has_its_turn(
    server: ScriptedServer, tmp_path: Path
) -> None:
    """A message is in the history while its reply waits for a connection."""
    opened = asyncio.Semaphore(0)
    async with talking(tmp_path, server.url, connections=1) as talk:
        server.will(paused(opened))
        first = talk.send("first")
        await anext(first)
        await talk.renew()
        second = talk.send("second")
        notice = await anext(second)
        assert isinstance(notice, ChatNotice)
        assert "is waiting for its turn" in notice.message
        assert await talk.kept() == ["second"]


async def test_too_many_waiting_replies_are_refused_and_may_try_again(
    server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reply that finds no room to wait fails, and the history has its message and error."""
    monkeypatch.setattr("callboard_service.backends.openai.backend.MAX_WAITING", 0)
    async with talking(tmp_path, server.url) as talk:
        refused, events = await talk.failure("one too many")
        assert (refused.code.value, refused.retryable) == ("RESOURCE_EXHAUSTED", True)
        assert events == []
        assert await talk.kept() == ["one too many", "! RESOURCE_EXHAUSTED"]


async def conversation_with(talk: Talk, text: str) -> str:
    """Return the id of a new conversation that begins with this text of a user."""
    name = (await talk.backend.create("")).id
    await talk.backend.write(lambda store: store.append(name, HistoryEntry(user_text=text)))
    return name


async def test_few_large_conversations_are_sent_at_once(
    server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prompt takes several times its size in memory until the answer begins."""
    monkeypatch.setattr("callboard_service.backends.openai.backend.LARGE_AT_ONCE", 1)
    arrived, begin = asyncio.Semaphore(0), asyncio.Event()

    async def script(exchange: Exchange) -> None:
        arrived.release()
        await begin.wait()
        await saying("hello")(exchange)

    async with talking(tmp_path, server.url) as talk:
        server.will(script, saying("small"), script)
        large = "\U0001f3ad" * SMALL_PROMPT
        conversations = [await conversation_with(talk, large) for _ in range(2)]
        first, second = (
            reply_alone(talk.backend, session=name, conversation=name) for name in conversations
        )
        sending = asyncio.ensure_future(anext(first))
        await arrived.acquire()
        notice = await anext(second)
        assert isinstance(notice, ChatNotice)
        assert "is waiting for its turn" in notice.message
        assert text_of(await talk.all("hi")) == "small"
        begin.set()
        await sending
        assert text_of([event async for event in second]) == "hello"
        await first.aclose()
        assert len(server.chats) == 3
        assert large in server.chats[0].body["messages"][0]["content"]
