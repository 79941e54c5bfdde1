"""Which connections get a session, and how the others are refused."""

import asyncio
import struct
from pathlib import Path

import aiohttp
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.protocol import State

from tests.e2e.contract_client import Contract, message, parse
from tests.e2e.service_process import ServiceProcess, running


async def closed(url: str, *frames: bytes | str) -> int:
    """Send these frames on a new connection and return its close code."""
    async with connect(url, max_size=None, compression=None, proxy=None) as socket:
        try:
            for frame in frames:
                await socket.send(frame)
            while True:
                await socket.recv()
        except ConnectionClosed as end:
            assert end.rcvd is not None
            return end.rcvd.code


def hello(token: str) -> bytes:
    data: bytes = message("ClientMessage", hello=message("Hello", token=token)).SerializeToString()
    return data


def client_message(request_id: int = 0, **payload: object) -> bytes:
    data: bytes = message("ClientMessage", request_id=request_id, **payload).SerializeToString()
    return data


LIST = {"list_sessions": message("ListSessionsRequest")}


async def test_every_wrong_token_gets_4501(shared: ServiceProcess) -> None:
    right = shared.token
    for wrong in ("", "x", right[:-1], right + "x", right[:-1] + "!", "ü" * 20, right.upper()):
        assert await closed(shared.url, hello(wrong)) == 4501


async def test_anything_before_hello_is_a_violation(shared: ServiceProcess) -> None:
    for first in (client_message(1, **LIST), client_message(), b"", b"\xff\xff", b"garbage" * 100):
        assert await closed(shared.url, first) == 4500


async def test_a_second_hello_garbage_and_bad_ids_are_violations(shared: ServiceProcess) -> None:
    first = hello(shared.token)
    for second in (
        [first],
        [b"\xff"],
        [b"\x08"],
        [client_message(0, **LIST)],
        [client_message(2, **LIST), client_message(2, **LIST)],
        [client_message(2, **LIST), client_message(1, **LIST)],
    ):
        assert await closed(shared.url, first, *second) == 4500


async def test_text_frames_get_1003_before_and_after_hello(shared: ServiceProcess) -> None:
    assert await closed(shared.url, "hello") == 1003
    assert await closed(shared.url, hello(shared.token), "hello") == 1003


async def test_a_frame_over_the_limit_gets_1009_and_one_at_it_is_served(
    shared: ServiceProcess,
) -> None:
    limit = 1024 * 1024
    assert await closed(shared.url, hello(shared.token), b"\0" * (limit + 1)) == 1009
    async with shared.connect() as client:
        conversation = await client.conversation()
        envelope = message(
            "ClientMessage",
            request_id=99,
            send_message=message("SendMessageRequest", session_id=conversation, text="x"),
        )
        envelope.send_message.text = "x" * (limit - 100)
        envelope.send_message.text = "x" * (limit - 100 + limit - envelope.ByteSize())
        assert envelope.ByteSize() == limit
        await client.socket.send(envelope.SerializeToString())
        answers = await client.all(99)
        assert answers[0].token.text == envelope.send_message.text


async def test_no_hello_in_time_gets_4502(tmp_path: Path) -> None:
    settings = {"CALLBOARD_HANDSHAKE_TIMEOUT_MS": "100"}
    with running(tmp_path, "--backend", "echo", **settings) as service:
        assert await closed(service.url) == 4502


async def test_what_the_service_does_not_know_is_ignored_or_unimplemented(
    shared: ServiceProcess,
) -> None:
    async with shared.connect() as client:
        unknown_arm = b"\x08\x05" + b"\xba\x3e\x00"  # request_id 5, field 999
        await client.socket.send(unknown_arm)
        assert (await client.all(5))[0].error.code == "UNIMPLEMENTED"
        await client.socket.send(unknown_arm)
        for request_id in (0, 3, 5, 77):
            for payload in (
                {"cancel": message("CancelRequest")},
                {"credit": message("Credit", limit=5)},
                {"answer": message("AnswerRequest", ask_id="x")},
                {"ack": message("Ack", sequence=2**63)},
            ):
                await client.send(request_id, **payload)
        await client.send(6, **LIST)
        assert (await client.all(6))[0].WhichOneof("payload") == "session_list"
        assert [answer.request_id for answer in client.received] == [5, 6]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1:1"}, 421),
        ({"Host": "127.0.0.1.evil.example"}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": ""}, 403),
    ],
)
async def test_foreign_hosts_and_origins_are_refused_before_the_upgrade(
    shared: ServiceProcess, headers: dict[str, str], status: int
) -> None:
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(shared.url, headers=headers)
        assert refused.value.status == status


async def test_own_origin_and_own_names_are_served(shared: ServiceProcess) -> None:
    async with aiohttp.ClientSession() as http:
        for name in ("127.0.0.1", "localhost", "[::1]"):
            headers = {"Host": f"{name}:{shared.port}", "Origin": f"http://{name}:{shared.port}"}
            async with http.ws_connect(shared.url, headers=headers) as socket:
                await socket.send_bytes(hello(shared.token))
                assert (await socket.receive()).type is aiohttp.WSMsgType.BINARY


async def test_a_token_in_the_url_is_refused_though_right(shared: ServiceProcess) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await connect(f"{shared.url}?token={shared.token}", proxy=None)
    assert refused.value.response.status_code == 400


async def test_other_paths_and_plain_requests(shared: ServiceProcess) -> None:
    base = shared.ready["page"]
    async with aiohttp.ClientSession() as http:
        page = await http.get(base)
        assert page.status == 200
        assert "Callboard" in (text := await page.text())
        assert shared.token not in text
        assert (await http.get(base + "healthz")).status == 200
        assert (await http.get(base + "nothing")).status == 404
        assert (await http.get(base + "ws")).status == 426
        assert (await http.get(base, headers={"Host": "evil.example"})).status == 421


async def test_of_too_many_connections_without_hello_the_oldest_is_cut_off(tmp_path: Path) -> None:
    with running(tmp_path, "--backend", "echo", "--max-handshakes", "2") as service:
        async with (
            service.connect() as first,
            service.connect() as second,
            connect(service.url, proxy=None) as oldest,
            connect(service.url, proxy=None) as younger,
            connect(service.url, proxy=None),
        ):
            with pytest.raises(ConnectionClosed):
                await oldest.recv()
            assert younger.state is State.OPEN
            assert await first.conversation()
            assert await second.conversation()


async def test_one_session_too_many_gets_going_away_and_4001_and_may_come_back(
    tmp_path: Path,
) -> None:
    with running(tmp_path, "--backend", "echo", "--max-sessions", "2") as service:
        async with service.connect() as first, service.connect() as second:
            async with connect(service.url, proxy=None) as socket:
                await socket.send(hello(service.token))
                advice = parse("ServerMessage", await socket.recv(decode=False)).going_away
                assert advice.reason == "too many sessions"
                assert advice.reconnect_after_ms > 0
                with pytest.raises(ConnectionClosed) as end:
                    await socket.recv()
                assert end.value.rcvd is not None
                assert end.value.rcvd.code == 4001
            # An existing session can be taken over even at the session limit.
            token = second.welcome.resume_token
            async with service.connect(resume=message("Resume", resume_token=token)) as again:
                assert again.welcome.resumed
            assert await first.conversation()
            async with service.connect() as third:
                assert not third.welcome.resumed


async def test_a_client_that_sends_nothing_for_two_heartbeats_gets_4003(tmp_path: Path) -> None:
    flags = ("--backend", "echo", "--heartbeat-interval-ms", "100")
    with running(tmp_path, *flags) as service:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(
            f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        await reader.readuntil(b"\r\n\r\n")
        data = hello(service.token)
        writer.write(bytes((0x82, 0x80 | len(data))) + bytes(4) + data)  # masked with zeros
        received = await reader.read()  # to the end of the connection
        pings = received.count(b"\x89\x00")
        close = received.rindex(b"\x88")  # the last, since a resume token may contain this byte
        assert pings >= 1
        assert struct.unpack("!H", received[close + 2 : close + 4])[0] == 4003
        writer.close()
        async with Contract(service.url, service.token) as alive:
            await (await alive.socket.ping())
            assert await alive.conversation()
