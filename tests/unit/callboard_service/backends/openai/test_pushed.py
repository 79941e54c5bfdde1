"""What a reply's stream passes on while nobody waits for it but the one who takes its events."""

import asyncio
import json

from aiohttp import StreamReader

from actors import Burst, Message
from actors.protocol.frames import message_of
from actors.testing import settle
from callboard.v1.chat_pb2 import ChatToken
from callboard_service.backends.base import Pushed
from callboard_service.backends.openai.answer import Answer
from callboard_service.backends.openai.api import OpenAITimeouts
from callboard_service.backends.openai.completion import Completion
from callboard_service.backends.openai.refusals import Refusals
from callboard_service.backends.openai.stream import ReplyStream

REFUSALS = Refusals("", lambda: 0.0)


class Protocol:
    """The part of a connection that a StreamReader uses."""

    _reading_paused = False

    def resume_reading(self, **how: object) -> None: ...
    def pause_reading(self) -> None: ...


class Response:
    """The part of an aiohttp response that `Answer` uses."""

    connection = None

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.content = StreamReader(Protocol(), 2**16, loop=loop)  # type: ignore[arg-type]  # all it uses

    def close(self) -> None: ...

    def release(self) -> None: ...


def chunk(text: str) -> bytes:
    return b"data: %s\n\n" % json.dumps({"choices": [{"delta": {"content": text}}]}).encode()


async def begun() -> tuple[ReplyStream, StreamReader]:
    response = Response()
    answer = Answer(response, REFUSALS)  # type: ignore[arg-type]  # all it uses
    completion = Completion(REFUSALS)
    response.content.feed_data(chunk("first"))
    first = await answer.next(60.0)
    assert first is not None
    completion.take(first)
    return ReplyStream(answer, completion, OpenAITimeouts(), REFUSALS), response.content


async def test_tokens_read_together_are_returned_before_the_next_is_passed_on() -> None:
    stream, content = await begun()
    taken: list[Message] = []

    def take(event: Pushed) -> bool:
        taken.append(message_of(event))
        return True

    pushing = asyncio.ensure_future(stream.push(take, ()))
    await settle()
    content.feed_data(chunk("a"))
    content.feed_data(chunk("b") + chunk("c"))
    content.feed_data(chunk("d"))
    assert taken == [ChatToken(text="a")]
    batch = await asyncio.wait_for(pushing, 5.0)
    assert isinstance(batch, Burst)
    assert [*batch.answers] == [ChatToken(text="b"), ChatToken(text="c")]
    pushing = asyncio.ensure_future(stream.push(take, ()))
    await settle()
    assert taken == [ChatToken(text="a"), ChatToken(text="d")]
    pushing.cancel()


async def test_nothing_is_passed_on_after_enough() -> None:
    stream, content = await begun()
    taken: list[Message] = []

    def take(event: Pushed) -> bool:
        taken.append(message_of(event))
        return False

    pushing = asyncio.ensure_future(stream.push(take, ()))
    await settle()
    content.feed_data(chunk("a"))
    content.feed_data(chunk("b"))
    assert await asyncio.wait_for(pushing, 5.0) is None
    assert taken == [ChatToken(text="a")]
    assert await asyncio.wait_for(stream.push(take, ()), 5.0) is None
    assert taken == [ChatToken(text="a"), ChatToken(text="b")]
