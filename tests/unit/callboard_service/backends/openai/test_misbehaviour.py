"""Servers that refuse, break off, fall silent, flood or are something else altogether."""

import asyncio
import contextlib
import gc
import socket
import ssl
import threading
import warnings
from pathlib import Path
from typing import Any

import psutil
import pytest

from callboard.v1.chat_pb2 import ChatCompleted, ChatToken
from callboard_service.backends.openai.answer import READ_BYTES
from callboard_service.backends.openai.api import Api, ModelServer, OpenAITimeouts
from tests.support.conversing import LOG, failure_of, text_of
from tests.support.openai.scripted_server import (
    Exchange,
    ScriptedServer,
    never,
    refusing,
    saying,
    scripted,
)
from tests.support.openai.talk import KEY, Talk, talking


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 413, 500, 504])
async def test_other_refusals_are_not_tried_again(
    server: ScriptedServer, talk: Talk, status: int
) -> None:
    server.will(refusing(status, {"error": {"message": f"no {KEY}"}}))
    failure, events = await talk.failure()
    assert failure.message.endswith(f"(HTTP {status}): no ***")
    assert events == []
    assert len(server.chats) == 1


async def test_a_redirect_is_not_followed(server: ScriptedServer, talk: Talk) -> None:
    async with scripted() as other:
        target = f"http://user:pw@127.0.0.1:{other.port}/v1/chat/completions?k={KEY}"
        server.will(refusing(307, Location=target))
        other.will(saying("stolen"))
        failure, _ = await talk.failure()
        assert failure.code.value == "FAILED_PRECONDITION"
        assert "CALLBOARD_OPENAI_BASE_URL" in failure.message
        assert other.url in failure.message
        assert not {"user", "pw", KEY} & set(failure.message.replace("@", ":").split(":"))
        assert other.chats == []


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (refusing(200, b"<html>hello</html>", "text/html; charset=utf-8"), "FAILED_PRECONDITION"),
        (refusing(404, b"<html>hello</html>", "text/html"), "NOT_FOUND"),
        (refusing(200, b"x", "text/event-stream", Content_Encoding="gzip"), "UNAVAILABLE"),
        (refusing(200, b"not json"), "UNAVAILABLE"),
        (refusing(200, b"1" * (2 * 1024 * 1024)), "UNAVAILABLE"),
        (refusing(200, b'{"a": "' + b"1" * (2 * 1024 * 1024)), "UNAVAILABLE"),
        (refusing(200, {"error": {"code": 401, "message": "no"}}), "UNAUTHENTICATED"),
    ],
)
async def test_unusable_answers_are_failures(
    server: ScriptedServer, talk: Talk, script: Any, code: str
) -> None:
    server.will(script)
    failure, events = await talk.failure()
    assert (failure.code.value, events) == (code, [])


async def test_an_answer_that_is_not_streamed_is_a_reply(
    server: ScriptedServer, talk: Talk
) -> None:
    message = {"role": "assistant", "content": "all at once"}
    body = {"choices": [{"message": message}], "usage": {"prompt_tokens": 1}}
    server.will(refusing(200, body))
    assert text_of(await talk.all()) == "all at once"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"data: {no json}\n\n", "nonsense"),
        (b'data: {"error": {"message": "no memory", "code": 500}}\n\n', "UNAVAILABLE"),
        (b'event: error\ndata: {"error": {"type": "rate_limit_error"}}\n\n', "RESOURCE_EXHAUSTED"),
        (b"event: error\ndata: words\n\n", "UNAVAILABLE"),
        (b'error: {"code":400,"message":"old"}\n\n', "INVALID_ARGUMENT"),
        (b"data: " + b"x" * (10 * 1024 * 1024), "nonsense"),
        (b'data: {"choices": [{"delta": {"content": "hal', "UNAVAILABLE"),
        (b"", "UNAVAILABLE"),
    ],
)
async def test_what_goes_wrong_in_the_middle_keeps_what_was_said(
    server: ScriptedServer, talk: Talk, data: bytes, code: str
) -> None:
    """The history has the text before the failure, and then its error."""
    said = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.delta(content="Once upon")
        await said.wait()
        if data:
            await exchange.raw(data)
        exchange.writer.close()

    server.will(script)
    reply = talk.send()
    first = await anext(reply)
    said.set()
    failure, rest = await failure_of(reply)
    retryable = code in ("UNAVAILABLE", "RESOURCE_EXHAUSTED")
    code = "UNAVAILABLE" if code == "nonsense" else code
    assert (failure.code.value, failure.retryable) == (code, retryable)
    assert [first, *rest] == [ChatToken(text="Once upon")]
    assert await talk.kept() == ["hi", "> Once upon", f"! {code}"]
    assert len(server.chats) == 1


async def test_a_server_that_falls_silent(server: ScriptedServer, tmp_path: Path) -> None:
    async def mute(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.delta(content="Well")
        await exchange.gone.wait()

    async with talking(tmp_path, server.url, patience=OpenAITimeouts(silence=1.0)) as talk:
        for script, text in ((never, ""), (mute, "Well")):
            server.will(script)
            failure, events = await talk.failure()
            assert (failure.code.value, failure.retryable) == ("DEADLINE_EXCEEDED", True)
            assert text_of(events) == text
            assert len(server.chats) == 1


async def test_ends_that_servers_leave_out(server: ScriptedServer, tmp_path: Path) -> None:
    finished = asyncio.Event()

    async def no_done(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.delta(content="ok")
        await exchange.delta("stop")
        await exchange.send(b"0\r\n\r\n")

    async def no_reason(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.delta(content="ok")
        await exchange.raw(b"data: [DONE]\n\n")

    async def cut_after_reason(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.delta("stop", content="ok")
        await finished.wait()
        exchange.cut()

    async def open_for_ever(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.delta("stop", content="ok")
        await exchange.gone.wait()

    async with talking(
        tmp_path, server.url, patience=OpenAITimeouts(farewell=0.1, doubt=0.1)
    ) as talk:
        for script in (no_done, no_reason, cut_after_reason, open_for_ever):
            server.will(script)
            events = []
            async for event in talk.send():
                events.append(event)
                finished.set()
            assert [type(event) for event in events] == [ChatToken, ChatCompleted]


async def test_cancelling_the_request_closes_the_connection(
    server: ScriptedServer, talk: Talk
) -> None:
    """A reply that its client cancels ends at the server, and the history has what was said."""

    async def endless(exchange: Exchange) -> None:
        await exchange.begin()
        while True:
            await exchange.delta(content="on and on ")
            if exchange.sent > 10_000:
                await exchange.gone.wait()
                return

    server.will(endless)
    reply = talk.send()
    events = [await anext(reply)]
    reply.cancel()
    failure, rest = await failure_of(reply)
    assert failure.code.value == "CANCELLED"
    await server.chats[0].gone.wait()
    await talk.idle()
    user, said, error = await talk.kept()
    assert (user, error) == ("hi", "! CANCELLED")
    assert said.startswith(f"> {text_of([*events, *rest])}")


async def test_no_more_is_read_than_is_asked_for(server: ScriptedServer) -> None:
    async def flood(exchange: Exchange) -> None:
        await exchange.begin()
        while exchange.sent < 64 * 1024 * 1024:
            await exchange.delta(content="x" * 100)

    server.will(flood)
    api = Api(ModelServer(server.url), LOG, OpenAITimeouts())
    try:
        answer = await api.complete("small", [])
        for _ in range(10):
            assert await answer.next(10.0) is not None
        for _ in range(500):  # turns of the event loop, enough to read on
            await asyncio.sleep(0)
        assert answer.parsed == 10
        assert answer.buffered <= READ_BYTES
        taken = answer._response.content.total_bytes
        assert taken < 64 * 1024
        assert server.chats[0].sent < 512 * 1024
        answer.close()
    finally:
        await api.close()


async def test_a_burst_is_not_swallowed(tmp_path: Path) -> None:
    full, done = threading.Event(), threading.Event()

    def serve() -> None:
        """Send as much as the system takes while the client's event loop is blocked."""
        with listener.accept()[0] as connection:
            connection.recv(65536)
            kind = b"Content-Type: text/event-stream\r\nContent-Length: 999999999\r\n\r\n"
            connection.sendall(b"HTTP/1.1 200 OK\r\n" + kind)
            connection.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    connection.send(b'data: {"choices": []}\n\n' * 100)
            full.set()
            done.wait()

    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        api = Api(
            ModelServer(f"http://127.0.0.1:{listener.getsockname()[1]}/v1"), LOG, OpenAITimeouts()
        )
        try:
            answer = await api.complete("small", [])
            full.wait()
            assert await answer.next(10.0) is not None
            for _ in range(500):
                await asyncio.sleep(0)
            assert answer._response.content.total_bytes < 64 * 1024
            answer.close()
        finally:
            await api.close()
            done.set()
            await asyncio.to_thread(thread.join)


async def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with contextlib.closing(await asyncio.start_server(lambda _r, _w: None, "127.0.0.1")) as gone:
        port = gone.sockets[0].getsockname()[1]
    for url in (f"http://127.0.0.1:{port}", "http://nowhere.invalid", f"https://localhost:{port}"):
        async with talking(tmp_path, url, model="m") as talk:
            failure, events = await talk.failure()
            assert (failure.code.value, failure.retryable) == ("UNAVAILABLE", True)
            assert (events, talk.pauses) == ([], [])
        async with talking(tmp_path, url) as talk:
            failure, _ = await talk.failure()
            assert failure.code.value == "UNAVAILABLE"


async def test_what_does_not_speak_http(tmp_path: Path) -> None:
    def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        writer.close()

    listener = await asyncio.start_server(greet, "127.0.0.1")
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        for scheme, reason in (("http", "does not speak HTTP"), ("https", "TLS")):
            url = f"{scheme}://127.0.0.1:{port}"
            async with talking(tmp_path, url, model="m") as talk:
                failure, _ = await talk.failure()
                assert failure.code.value == "UNAVAILABLE"
                assert reason in failure.message


async def test_a_certificate_that_nobody_vouches_for(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(Path(__file__).with_name("untrusted.pem"))
    async with scripted(context) as server:
        async with talking(tmp_path, f"https://localhost:{server.port}", model="m") as talk:
            failure, _ = await talk.failure()
            assert (failure.code.value, failure.retryable) == ("UNAVAILABLE", False)
            assert "certificate" in failure.message
        assert (server.chats, server.listed) == ([], 0)


async def test_health(server: ScriptedServer, talk: Talk) -> None:
    backend = talk.backend
    assert backend.health().ready
    server.will(refusing(400), refusing(401), refusing(429, Retry_After="60"), saying("ok"))
    for ready in (True, False, False):
        await talk.failure()
        assert backend.health().ready is ready
    assert "rejected the key" in backend.health().detail
    await talk.all()
    assert backend.health().ready
    assert server.url in backend.health().detail
    await backend.disconnect()
    assert not backend.health().ready


async def test_nothing_is_left_open(server: ScriptedServer, tmp_path: Path) -> None:
    before = psutil.Process().num_fds()
    server.will(saying("ok"), refusing(400), saying("ok"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        async with talking(tmp_path, server.url) as talk:
            await talk.all()
            await talk.failure()
            reply = talk.send()
            await anext(reply)
            reply.cancel()
        gc.collect()
    assert caught == []
    for exchange in server.chats:
        await exchange.gone.wait()
    await server.settled()
    assert psutil.Process().num_fds() == before
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_no_proxy_of_the_environment_gets_the_key(
    server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scripted() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        server.will(saying("direct"))
        async with talking(tmp_path, server.url) as talk:
            assert text_of(await talk.all()) == "direct"
        assert proxy.chats == []
        assert proxy.listed == 0


def test_the_key_is_in_no_repr() -> None:
    assert KEY not in repr(ModelServer("http://x", KEY))
