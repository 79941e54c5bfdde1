"""The terminal client finds a service and connects: connect.py, against a fake service."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import repeat
from pathlib import Path

import pytest
from aiohttp import WSMsgType, web

from callboard.v1.envelope_pb2 import ClientMessage, ServerMessage
from callboard.v1.session_pb2 import Welcome
from callboard_service.terminal.connect import (
    PATIENT,
    SETTINGS,
    Link,
    Way,
    by_runtime_file,
    by_url,
)
from callboard_service.terminal.errors import NoService
from transport.client.calls import Endpoint
from transport.discovery import RuntimeRecord, publish
from transport.errors import ConnectionClosed

TOKEN = "a token that fits"


@asynccontextmanager
async def service(
    backend: str = "fake", refuse: int = 0, *, statuses: Iterable[int] = ()
) -> AsyncIterator[str]:
    """Run a fake service that admits clients with the token, and yield its URL.

    refuse: close every connection with this code, unless 0. statuses: answer the first requests
    with these HTTP statuses; open a WebSocket for each later one.
    """
    left = iter(statuses)

    sockets: list[web.WebSocketResponse] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        for status in left:
            return web.Response(status=status)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        hello = ClientMessage.FromString(await socket.receive_bytes()).hello
        if refuse or hello.token != TOKEN:
            await socket.close(code=refuse or 4501)
            return socket
        welcome = ServerMessage(welcome=Welcome(backend=backend))
        await socket.send_bytes(welcome.SerializeToString())
        sockets.append(socket)
        while (await socket.receive()).type is WSMsgType.BINARY:
            pass
        return socket

    app = web.Application()
    app.router.add_get("/ws", answer)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"ws://127.0.0.1:{runner.addresses[0][1]}/ws"
    finally:
        for socket in sockets:
            await socket.close(code=4001)
        await runner.cleanup()


def publish_record(folder: Path, url: str, token: str = TOKEN) -> None:
    """Publish the runtime file of a service in this process."""
    publish(folder, RuntimeRecord(os.getpid(), url, "", token, "fake", "0", time.time()))


async def test_the_service_of_the_runtime_file_is_found(tmp_path: Path) -> None:
    async with service() as url, Link(by_runtime_file(tmp_path)) as link:
        publish_record(tmp_path, url)
        client = await link.open()
        assert client.welcome.backend == "fake"
        assert await link.open() is client


async def test_without_a_service_the_error_says_how_to_start_one(tmp_path: Path) -> None:
    async with Link(by_runtime_file(tmp_path / "none")) as link:
        with pytest.raises(NoService, match=r"callboard serve.*make serve"):
            await link.open()


async def test_a_new_service_is_found_when_the_old_refuses(tmp_path: Path) -> None:
    async with service("new") as url:
        publish_record(tmp_path, url, "the token of the one before")
        way = by_runtime_file(tmp_path)

        def find_and_restart() -> Endpoint:
            found = way.find()
            publish_record(tmp_path, url)
            return found

        async with Link(Way(find_and_restart, "")) as link:
            assert (await link.open()).welcome.backend == "new"


async def test_the_same_service_is_not_tried_twice(tmp_path: Path) -> None:
    found: list[int] = []
    async with service(refuse=4501) as url:
        way = by_url(url, TOKEN)

        def find() -> Endpoint:
            found.append(1)
            return way.find()

        async with Link(replace(way, find=find)) as link:
            with pytest.raises(NoService, match=r"rejects the token: CALLBOARD_TOKEN"):
                await link.open()
    assert len(found) == 2


BRIEF = replace(SETTINGS, backoff_initial=0.001, busy_wait=0.01)


async def test_a_dead_service_is_told_from_one_that_takes_nobody_in() -> None:
    async with service(refuse=4001) as url, Link(by_url(url, TOKEN), BRIEF) as link:
        with pytest.raises(NoService, match=r"accepts no clients now.*try again later"):
            await link.open()
    async with Link(by_url(url, TOKEN)) as link:
        with pytest.raises(NoService, match="no service answers at"):
            await link.open()


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, "put the token in CALLBOARD_TOKEN"),
        (401, "a login"),
        (403, "rejects this client"),
        (404, "the path must be /ws"),
        (302, "does not open a WebSocket"),
        (429, "does not open a WebSocket"),
        (500, "does not open a WebSocket"),
        (421, "rejects this host name"),
        (426, "no WebSocket handshake"),
        (502, "cannot reach the service"),
        (503, "is full or shutting down: try again later"),
    ],
)
async def test_each_refusal_is_one_line_that_says_what_to_do(status: int, said: str) -> None:
    async with service(statuses=repeat(status)) as url, Link(by_url(url, TOKEN), BRIEF) as link:
        with pytest.raises(NoService, match=rf"{said}.*\(HTTP {status}\)") as caught:
            await link.open()
    assert "\n" not in str(caught.value)


async def test_a_full_service_is_tried_again_and_that_is_told_once() -> None:
    told: list[str] = []
    room = asyncio.Event()

    def statuses() -> Iterator[int]:
        while not room.is_set():
            yield 503

    def tell(text: str) -> None:
        told.append(text)
        room.set()

    async with service(statuses=statuses()) as url:
        settings = replace(PATIENT, backoff_initial=0.001, backoff_maximum=0.001)
        async with Link(by_url(url, TOKEN), settings, tell=tell, notice_after=0.001) as link:
            assert (await link.open()).connected
    (text,) = told
    assert "full or shutting down; trying again" in text


async def test_waiting_for_a_full_service_can_be_cancelled() -> None:
    refused = asyncio.Event()

    def statuses() -> Iterator[int]:
        while True:
            refused.set()
            yield 503

    async with service(statuses=statuses()) as url, Link(by_url(url, TOKEN), PATIENT) as link:
        opening = asyncio.create_task(link.open())
        await refused.wait()
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening


async def test_a_service_without_tls_is_named_in_the_error() -> None:
    async with service("old") as url, Link(by_url(url.replace("ws:", "wss:"), TOKEN)) as link:
        with pytest.raises(NoService, match=r"no TLS with the server.*begins with ws:"):
            await link.open()


async def test_a_client_that_gave_up_is_replaced(tmp_path: Path) -> None:
    settings = replace(SETTINGS, backoff_initial=0.001, give_up=0.01)
    async with Link(by_runtime_file(tmp_path), settings) as link:
        async with service("old") as url:
            publish_record(tmp_path, url)
            client = await link.open()
            stream = client.stream(Welcome(), Welcome)
        with pytest.raises(ConnectionClosed):
            await stream.next()
        assert client.over
        with pytest.raises(NoService):
            await link.open()
        async with service("new") as url:
            publish_record(tmp_path, url)
            assert (await link.open()).welcome.backend == "new"


async def test_a_client_that_gives_up_during_an_open_is_replaced(tmp_path: Path) -> None:
    settings = replace(SETTINGS, backoff_initial=0.001, give_up=0.05)
    async with Link(by_runtime_file(tmp_path), settings) as link:
        async with service("old") as url:
            publish_record(tmp_path, url)
            client = await link.open()
        while client.connected:  # noqa: ASYNC110 - a cut sets no event
            await asyncio.sleep(0)
        with pytest.raises(NoService):
            await link.open()
        assert client.over


def test_the_token_is_in_no_repr() -> None:
    assert TOKEN not in repr(by_url("ws://x", TOKEN).find())
