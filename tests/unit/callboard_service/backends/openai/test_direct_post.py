"""A request that is sent directly is the one that aiohttp would send."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import uvloop
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from actors import Failure
from callboard.v1.chat_pb2 import ChatCompleted
from callboard_service.backends.openai import direct_post
from callboard_service.backends.openai.direct_post import DirectPost, is_as_expected
from tests.support.conversing import text_of
from tests.support.openai.talk import talking

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b'data: {"choices": [{"delta": {"content": "Hello"}, "finish_reason": "stop"}]}\n\n'
REPLY = HEAD + b"%x\r\n%s\r\n" % (len(EVENT), EVENT) + b"c\r\ndata: [DONE]\r\n0\r\n\r\n"
LIMITS: direct_post.Limits = {
    "read_bufsize": 16384,
    "max_line_size": 1000,
    "max_field_size": 1000,
}


class Recorded:
    """A server that keeps each request's head, by its connection, and sends what it was given."""

    def __init__(self) -> None:
        self.heads: list[tuple[int, list[str], bytes]] = []
        self.connections = 0
        self.writers: list[asyncio.StreamWriter] = []
        self.answer = REPLY
        self.asked = asyncio.Event()

    def posts(self) -> list[tuple[list[str], bytes]]:
        return [(head, body) for _, head, body in self.heads if head[0].startswith("POST")]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        number = self.connections
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                sizes = [int(line.split()[1]) for line in head if line.startswith("Content-Length")]
                self.heads.append((number, head, await reader.readexactly(sum(sizes))))
                self.asked.set()
                writer.write(self.answer)
        except asyncio.IncompleteReadError:
            writer.close()


@asynccontextmanager
async def recorded() -> AsyncIterator[tuple[Recorded, str]]:
    made = Recorded()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    try:
        yield made, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()


@asynccontextmanager
async def posting(url: str) -> AsyncIterator[DirectPost]:
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.TCPConnector() as connector:
        yield DirectPost(connector, URL(url), {"User-Agent": "x"}, timeout, LIMITS)


async def body_of(response: direct_post.DirectResponse) -> bytes:
    return await response.content.read()


async def test_a_server_sees_the_same_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    async with recorded() as (server, url):
        for available in (True, False):
            monkeypatch.setattr(direct_post, "AVAILABLE", available)
            server.heads.clear()
            async with talking(tmp_path, f"{url}?v=2", model="tiny") as talk:
                events = [event async for event in talk.send()]
            assert text_of(events) == "Hello"
            assert isinstance(events[-1], ChatCompleted)
            ((head, body),) = server.posts()
            seen.append((head[0], sorted(head[1:]), body))
    assert seen[0] == seen[1]
    assert seen[0][0] == "POST /v1/chat/completions?v=2 HTTP/1.1"
    assert "Authorization: Bearer sk-s3cr3t" in seen[0][1]


async def test_a_connection_is_used_again_once_its_response_has_ended() -> None:
    async with recorded() as (server, url), posting(url) as post:
        for _ in range(2):
            response = await post.send(b"{}")
            assert await body_of(response) == EVENT + b"data: [DONE]"
            assert response.connection is None
            response.close()
        assert server.connections == 1
        for end in ("close", "release"):
            server.answer = HEAD
            response = await post.send(b"{}")
            getattr(response, end)()
            assert response.connection is None
            server.answer = REPLY
            assert await body_of(await post.send(b"{}")) == EVENT + b"data: [DONE]"
    assert [number for number, _, _ in server.heads] == [1, 1, 1, 2, 2, 3]


async def test_a_response_that_nobody_asked_for_is_not_that_of_the_next_request() -> None:
    stray = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray"
    async with recorded() as (server, url), posting(url) as post:
        assert EVENT in await body_of(await post.send(b"1"))
        (((protocol, _),),) = post._connector._conns.values()
        server.writers[0].write(stray)
        for _ in iter(lambda: protocol.should_close, True):
            await asyncio.sleep(0)
        assert EVENT in await body_of(await post.send(b"2"))
        assert server.connections == 2


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_server_that_speaks_first_is_an_error_at_once(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """On uvloop its words are there before the connection is used."""

    async def post() -> int:
        connections = 0

        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            writer.write(b"220 mail\r\n")
            await reader.read()
            writer.close()

        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        async with posting(url) as poster:
            with pytest.raises(aiohttp.ClientResponseError):
                await poster.send(b"{}")
        server.close()
        return connections

    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(post()) == 1


async def test_what_comes_before_the_response_is_passed_over() -> None:
    async with recorded() as (server, url), posting(url) as post:
        server.answer = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + REPLY
        response = await post.send(b"{}")
        assert (response.status, response.headers.get("Link")) == (200, None)
        response.close()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"SSH-2.0-OpenSSH\r\n\r\n", aiohttp.ClientResponseError),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2000 + b"\r\n\r\n", aiohttp.ClientResponseError),
    ],
    ids=["another protocol", "a long header"],
)
async def test_what_is_no_response_is_an_error(answer: bytes, error: type[Exception]) -> None:
    async with recorded() as (server, url), posting(url) as post:
        server.answer = answer
        with pytest.raises(error):
            await post.send(b"{}")
        server.answer = REPLY
        await body_of(await post.send(b"{}"))
    assert server.connections == 2


async def test_a_cancelled_request_closes_its_connection() -> None:
    async with recorded() as (server, url), posting(url) as post:
        server.answer = b""
        waiting = asyncio.create_task(post.send(b"{}"))
        await server.asked.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        server.answer = REPLY
        await body_of(await post.send(b"{}"))
    assert server.connections == 2


async def test_it_is_not_used_if_aiohttp_is_different(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_as_expected()
    with monkeypatch.context() as patch:
        patch.setattr(ResponseHandler, "read", lambda _: None)
        assert not is_as_expected()
    for name in ("set_response_params", "should_close"):
        with monkeypatch.context() as patch:
            patch.delattr(ResponseHandler, name)
            assert not is_as_expected()
    with monkeypatch.context() as patch:
        patch.setattr(aiohttp.ClientRequest, "__init__", lambda self: None)
        assert not is_as_expected()


async def test_after_the_end_no_request_is_sent(tmp_path: Path) -> None:
    async with recorded() as (server, url):
        async with talking(tmp_path, url, model="tiny") as talk:
            await talk.backend.disconnect()
            with pytest.raises((Failure, RuntimeError)):
                _ = [event async for event in talk.send()]
        assert server.posts() == []
