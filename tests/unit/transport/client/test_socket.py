"""The client's WebSocket: socket.py, against a server that a test drives."""

import asyncio
import gc
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import psutil
import pytest
from aiohttp import BaseConnector, WSMsgType, web

from tests.support.peers.socket_server import listen
from transport.client.socket import AiohttpWebSocket, WebSockets
from transport.errors import ConnectionClosed

Behave = Callable[[web.WebSocketResponse], Awaitable[None]]


class Host:
    """A server whose next connections behave as the test says."""

    def __init__(self) -> None:
        self.behave: Behave = _silence
        self.dialer = WebSockets()

    async def answer(self, request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse(autoping=False)
        await websocket.prepare(request)
        await self.behave(websocket)
        return websocket

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/ws", self.answer)
        self.runner, port = await listen(app)
        self.url = f"ws://127.0.0.1:{port}/ws"

    async def dial(self, behave: Behave) -> AiohttpWebSocket:
        self.behave = behave
        return await self.dialer.dial(self.url)


async def _silence(websocket: web.WebSocketResponse) -> None:
    await websocket.receive()


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    host = Host()
    await host.start()
    yield host
    await host.dialer.close()
    await host.runner.cleanup()


async def ended(websocket: AiohttpWebSocket) -> ConnectionClosed:
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            await websocket.receive()
    websocket.abort()
    return caught.value


async def test_frames_go_both_ways_and_pings_are_answered(host: Host) -> None:
    pongs: list[bytes] = []

    async def behave(websocket: web.WebSocketResponse) -> None:
        for _ in range(2):
            await websocket.send_bytes(await websocket.receive_bytes())
        await websocket.ping(b"beat")
        pongs.append((await websocket.receive()).data)
        await websocket.pong(b"unasked")
        await websocket.close(code=4001, message=b"away")

    websocket = await host.dial(behave)
    await websocket.send([b"one", b"two"])
    assert [await websocket.receive() for _ in range(4)] == [b"one", b"two", None, None]
    closed = await ended(websocket)
    assert (closed.code, closed.reason) == (4001, "away")
    assert pongs == [b"beat"]
    await websocket.send([b"too late"])
    websocket.abort()


async def test_a_text_frame_ends_it(host: Host) -> None:
    websocket = await host.dial(lambda websocket: websocket.send_str("hello"))
    assert (await ended(websocket)).code == 1003


@pytest.mark.parametrize("fragments", [1, 3])
async def test_an_answer_of_the_largest_size_is_taken_and_a_larger_one_named(
    host: Host, fragments: int
) -> None:
    limit = 3000

    async def behave(websocket: web.WebSocketResponse) -> None:
        for size in (limit, limit + fragments):
            for number in range(fragments):
                opcode = WSMsgType.BINARY if number == 0 else WSMsgType.CONTINUATION
                final = number == fragments - 1
                await _send_part(websocket, bytes(size // fragments), opcode, final=final)
        await websocket.receive()

    dialer = WebSockets(max_answer=limit)
    host.behave = behave
    websocket = await dialer.dial(host.url)
    assert await websocket.receive() == bytes(limit)
    closed = await ended(websocket)
    assert closed.code == 1009
    assert closed.reason == "the service sent more than 3000 bytes in one message"
    await dialer.close()


async def _send_part(
    websocket: web.WebSocketResponse, data: bytes, opcode: int, *, final: bool
) -> None:
    """Write a fragment, which aiohttp itself never makes."""
    transport = websocket._req.transport  # type: ignore[union-attr] # it is prepared
    assert transport is not None
    transport.write(bytes([opcode | 0x80 * final, 126]) + len(data).to_bytes(2) + data)


async def test_closing_says_the_code_and_the_reason(host: Host) -> None:
    heard: list[tuple[int | None, str | None]] = []

    async def behave(websocket: web.WebSocketResponse) -> None:
        message = await websocket.receive()
        heard.append((message.data, message.extra))

    websocket = await host.dial(behave)
    reading = asyncio.create_task(ended(websocket))
    await websocket.close(1000, "bye")
    await reading
    assert heard == [(1000, "bye")]


async def test_a_reset_is_1006(host: Host) -> None:
    async def behave(websocket: web.WebSocketResponse) -> None:
        transport = websocket.get_extra_info("socket")
        assert transport is not None
        transport.shutdown(socket.SHUT_RDWR)

    websocket = await host.dial(behave)
    assert (await ended(websocket)).code == 1006


async def test_abort_ends_it_at_once_and_may_be_repeated(host: Host) -> None:
    seen = asyncio.Event()

    async def behave(websocket: web.WebSocketResponse) -> None:
        await websocket.receive()
        seen.set()

    for waits in (False, True):
        seen.clear()
        websocket = await host.dial(behave)
        reading = asyncio.create_task(ended(websocket))
        if waits:
            await asyncio.sleep(0)
        websocket.abort()
        websocket.abort()
        assert (await reading).code == 1006
        await seen.wait()


async def test_a_ping_that_cannot_be_answered_is_an_end(host: Host) -> None:
    async def behave(websocket: web.WebSocketResponse) -> None:
        await websocket.ping()
        await websocket.send_bytes(b"after")

    websocket = await host.dial(behave)
    inner = websocket._websocket

    async def broken(message: bytes = b"") -> None:
        raise ConnectionResetError

    inner.pong = broken  # type: ignore[method-assign] # a write that fails cannot be timed
    assert (await ended(websocket)).code == 1006
    websocket.abort()


@pytest.mark.parametrize("path", ["ws://127.0.0.1:1/ws", "nonsense", "ws://"])
async def test_what_cannot_be_dialled_is_1006(path: str) -> None:
    dialer = WebSockets()
    with pytest.raises(ConnectionClosed) as caught:
        await dialer.dial(path)
    assert caught.value.code == 1006
    await dialer.close()


async def test_a_refused_upgrade_is_1006(host: Host) -> None:
    with pytest.raises(ConnectionClosed, match="404") as caught:
        await host.dialer.dial(host.url + "/none")
    assert (caught.value.code, caught.value.status) == (1006, 404)
    assert not caught.value.busy


async def test_a_dialer_that_never_dialled_opens_nothing_and_closes() -> None:
    def connector() -> BaseConnector:
        raise AssertionError("nothing was dialled")

    dialer = WebSockets(connector)
    await dialer.close()
    await dialer.close()
    assert dialer._sessions == {}


async def test_no_descriptor_is_left(host: Host) -> None:
    before = psutil.Process().num_fds()
    for _ in range(20):
        websocket = await host.dial(_silence)
        websocket.abort()
        await ended(websocket)
    await host.dialer.close()
    await host.runner.cleanup()
    gc.collect()
    assert psutil.Process().num_fds() <= before
