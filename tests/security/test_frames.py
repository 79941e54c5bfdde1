"""Malformed frames get their close code, cost bounded memory, and harm no other client."""

import asyncio
import contextlib

import pytest

from tests.e2e.contract_client import message
from tests.e2e.service_process import ServiceProcess
from tests.security.raw import (
    BINARY,
    CLOSE,
    FIN,
    PING,
    RSV1,
    TEXT,
    client_message,
    frame,
    greeted,
    memory_of,
    open_files,
    plain,
    still_serves,
    upgrade,
    upgraded,
)

LIMIT = 1024 * 1024
MEGABYTE = 1024 * 1024
LIST = message("ListSessionsRequest")


async def outcome(service: ServiceProcess, *data: bytes, welcome: bool = True) -> int:
    """Send these bytes on a new connection and return its close code."""
    way = greeted if welcome else upgraded
    async with way(service) as raw:
        with contextlib.suppress(ConnectionError):
            await raw.send(*data)
        return await raw.close_code()


@pytest.mark.parametrize("welcome", [False, True])
@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(b"text", TEXT), 1003),
        (frame(b"", TEXT), 1003),
        (frame(b"\xff", TEXT), 1007),
        (frame(b"garbage" * 100), 4500),
        (frame(b"\x80" * 11), 4500),
        (frame(b"\x08\x80\x80"), 4500),  # an incomplete varint
        (frame(b"\x0a\xff\xff\xff\xff\x0f"), 4500),  # a length beyond the message
        (frame(b"\0" * (LIMIT + 1)), 1009),
        (frame(b"", 0x3), 1002),  # an unknown opcode
        (frame(b"x" * 126, PING), 1002),
        (frame(b"", PING, bits=0), 1002),  # control frames have no fragments
        (frame(b"", 0x0), 1002),  # a continuation of nothing
        (frame(b"x", BINARY, bits=FIN | RSV1), 1002),  # compressed, which was not negotiated
        (frame(b"a", BINARY, bits=0) + frame(b"b"), 1002),  # a message within a message
        (frame(b"\x03", CLOSE), 1002),
        (frame(b"\x03\xed", CLOSE), 1002),  # 1005 must not be sent
    ],
)
async def test_frames_and_their_codes(
    service: ServiceProcess, data: bytes, code: int, welcome: bool
) -> None:
    assert await outcome(service, data, welcome=welcome) == code


@pytest.mark.parametrize("welcome", [False, True])
@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(b"\0" * (2 * LIMIT)), 1009),
        (frame(b"", 0x3), 1002),
        (frame(b"\xff", TEXT), 1007),
        (frame(b"text", TEXT) + frame(b"", 0x3), 1003),
    ],
)
async def test_the_code_arrives_whatever_is_sent_behind_the_fault(
    service: ServiceProcess, data: bytes, code: int, welcome: bool
) -> None:
    """The peer writes everything before it reads anything."""
    way = greeted if welcome else upgraded
    async with way(service) as raw:
        raw.writer.transport.pause_reading()  # type: ignore[attr-defined]  # asyncio's own
        await raw.send(data, bytes(16 * MEGABYTE))
        raw.writer.transport.resume_reading()  # type: ignore[attr-defined]  # asyncio's own
        assert await raw.close_code() == code
        await raw.end()


async def test_an_unknown_arm_ends_its_request_and_nothing_else(service: ServiceProcess) -> None:
    async with greeted(service) as raw:
        await raw.send(frame(b"\x08\x01" + b"\xba\x3e\x00"))  # request_id 1, field 999
        answer = await raw.answer()
        assert (answer.error.code, answer.end) == ("UNIMPLEMENTED", True)
        await raw.send(frame(client_message(2, list_sessions=LIST)))
        assert (await raw.answer()).WhichOneof("payload") == "session_list"


async def test_any_with_a_wrong_type_and_any_with_a_broken_value(service: ServiceProcess) -> None:
    known = "type.googleapis.com/callboard.v1.ServiceStatusRequest"
    broken = [
        ("", b"", "UNIMPLEMENTED"),
        ("type.googleapis.com/no.such.Type", b"", "UNIMPLEMENTED"),
        ("callboard.v1.Hello", b"", "UNIMPLEMENTED"),
        ("/" * 10_000, b"x" * 10_000, "UNIMPLEMENTED"),
        (known, b"\xff\xff", "INVALID_ARGUMENT"),
        (known, b"\x08\x80", "INVALID_ARGUMENT"),
    ]
    async with greeted(service) as raw:
        for request_id, (type_url, value, code) in enumerate(broken, 1):
            packed = message("google.protobuf.Any", type_url=type_url, value=value)
            await raw.send(frame(client_message(request_id, call=packed)))
            answer = await raw.answer()
            assert (answer.request_id, answer.error.code, answer.end) == (request_id, code, True)


async def test_deep_nesting_is_no_message(service: ServiceProcess) -> None:
    def nested(field: bytes, depth: int) -> bytes:
        data = b""
        for _ in range(depth):
            size, length = len(data), b""
            while size >= 0x80:
                length += bytes((size & 0x7F | 0x80,))
                size >>= 7
            data = field + length + bytes((size,)) + data
        return data

    groups = b"\xbb\x3e" * 10_000  # field 999, a group in a group
    deep = nested(b"\xba\x3e", 10_000)  # an unknown field, whose bytes are not parsed
    assert await outcome(service, frame(groups)) == 4500
    async with greeted(service) as raw:
        await raw.send(frame(b"\x08\x01" + deep))
        assert (await raw.answer()).error.code == "UNIMPLEMENTED"


async def test_a_message_in_fragments_that_never_ends_gets_1009(service: ServiceProcess) -> None:
    before = memory_of(service)
    async with greeted(service) as raw:
        first, more = frame(b"x" * 4096, BINARY, bits=0), frame(b"x" * 4096, 0x0, bits=0)
        with_room = LIMIT // 4096 + 10
        with contextlib.suppress(ConnectionError):
            await raw.send(first, more * with_room)
        assert await raw.close_code() == 1009
    assert memory_of(service) - before < 32 * MEGABYTE


async def test_a_million_empty_frames_cost_no_memory(service: ServiceProcess) -> None:
    before = memory_of(service)
    empty = {"binary": frame(b""), "continued": frame(b"", 0x0, bits=0), "pong": frame(b"", 0xA)}
    for kind, one in empty.items():
        async with greeted(service) as raw:
            if kind == "continued":
                await raw.send(frame(b"", BINARY, bits=0))
            for _ in range(100):
                await raw.send(one * 10_000)
    assert memory_of(service) - before < 32 * MEGABYTE
    await still_serves(service)


async def test_deflate_is_offered_and_not_taken(service: ServiceProcess) -> None:
    async with plain(service) as raw:
        offer = ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")
        await raw.send(upgrade(f"127.0.0.1:{service.port}", [offer]))
        status, headers = await raw.response()
        assert status == 101
        assert "sec-websocket-extensions" not in headers


async def test_a_reset_in_mid_stream_ends_the_session_and_leaves_no_socket(
    service: ServiceProcess,
) -> None:
    async with service.connect() as good:
        conversation = await good.conversation("reset")
        before = open_files(service)
        for _ in range(20):
            async with greeted(service) as raw:
                endless = message(
                    "SendMessageRequest", session_id=conversation, text="word [[repeat:100000]]"
                )
                await raw.send(frame(client_message(1, send_message=endless)))
                await raw.answer()
                raw.reset()
        async with asyncio.timeout(20):
            while open_files(service) > before:
                await good.call(list_sessions=LIST)
    await still_serves(service)


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /ws HTTP/1.1\r\nHost: a\r\nHost : b\r\n\r\n",
        b"GET /ws\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),  # TLS, to a port without
        b"GET /ws HTTP/1.1\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /ws HTTP/1.1\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /ws HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        bytes(range(256)) * 50,
    ],
)
async def test_what_is_no_request_gets_an_error_and_its_connection_ends(
    service: ServiceProcess, request_line: bytes
) -> None:
    async with plain(service) as raw:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await raw.send(request_line)
            status, _ = await raw.response()
            assert 400 <= status < 500
        await raw.end()
