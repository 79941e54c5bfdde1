"""Every wrong token gets the same close code, and a malformed or missing Hello gets its own."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.e2e.contract_client import message
from tests.e2e.service_process import ServiceProcess, running
from tests.security.raw import PING, client_message, frame, greeted, hello, upgraded

LIST = client_message(1, list_sessions=message("ListSessionsRequest"))


async def outcome(service: ServiceProcess, *frames: bytes) -> int:
    """Send these messages on a new connection and return its close code."""
    async with upgraded(service) as raw:
        await raw.send(*map(frame, frames))
        return await raw.close_code()


def with_token(token: bytes) -> bytes:
    """Encode a Hello with these bytes as its token, which need not be text."""
    field = bytes((0x0A, len(token))) + token
    return bytes((0x1A, len(field))) + field


async def test_every_wrong_token_gets_4501(service: ServiceProcess) -> None:
    right = service.token.encode()
    flipped = right[:-1] + bytes((right[-1] ^ 1,))
    wrong = {
        "missing": b"\x1a\x02\x10\x01",
        "empty": with_token(b""),
        "one letter": with_token(right[:1]),
        "short": with_token(right[:-1]),
        "long": with_token(right + b"x"),
        "with a space": with_token(right + b" "),
        "with a zero": with_token(right + b"\0"),
        "one byte off": with_token(flipped),
        "first byte off": with_token(bytes((right[0] ^ 1,)) + right[1:]),
        "not UTF-8": with_token(b"\xff" * len(right)),
        "half UTF-8": with_token(right[:-1] + b"\xc3"),
        "upper case": with_token(right.upper()),
        "not ASCII": with_token("ü".encode() * 20),
    }
    got = {name: await outcome(service, data) for name, data in wrong.items()}
    assert got == dict.fromkeys(wrong, 4501)


async def test_a_right_token_in_a_broken_hello_opens_nothing(service: ServiceProcess) -> None:
    token = service.token.encode()
    name = b"\x1a\x02\xff\xff"  # client_name, not UTF-8
    field = bytes((0x0A, len(token))) + token + name
    assert await outcome(service, bytes((0x1A, len(field))) + field) == 4500


async def test_a_token_of_an_earlier_run_gets_4501(tmp_path: Path) -> None:
    flags = ("--backend", "echo")
    with running(tmp_path, *flags) as earlier:
        old = earlier.token
        async with greeted(earlier):
            pass
    with running(tmp_path, *flags) as later:
        assert later.token != old
        assert len(later.token) >= 43  # 256 bits
        assert await outcome(later, hello(old)) == 4501
        assert await outcome(later, hello(later.token), b"\xff") == 4500


async def test_no_hello_in_time_gets_4502_also_when_it_comes_in_drops(
    service: ServiceProcess,
) -> None:
    slow = [
        b"",
        frame(hello(service.token))[:-1],  # all but its last byte
        frame(b"", PING) * 100,  # pings do not buy time
    ]

    async def code(data: bytes) -> int:
        async with upgraded(service) as raw:
            await raw.send(data)
            return await raw.close_code()

    assert await asyncio.gather(*map(code, slow)) == [4502] * len(slow)


@pytest.mark.parametrize("first", [LIST, b"", b"\x08\x01", b"\xff" * 9, b"\0" * 65537])
async def test_what_comes_before_hello_gets_4500(service: ServiceProcess, first: bytes) -> None:
    assert await outcome(service, first) == 4500


async def test_a_second_hello_gets_4500(service: ServiceProcess) -> None:
    right = hello(service.token)
    assert await outcome(service, right, right) == 4500
    assert await outcome(service, right, hello("wrong")) == 4500


async def test_two_services_at_once_have_a_token_each(
    service: ServiceProcess, tmp_path: Path
) -> None:
    with running(tmp_path, "--backend", "echo") as other:
        record = json.loads(Path(other.ready["runtime_file"]).read_text())
        assert record["token"] != service.token
        assert other.port != service.port
        assert await outcome(other, hello(service.token)) == 4501
        assert await outcome(service, hello(other.token)) == 4501
        for one in (service, other):
            async with greeted(one):
                pass
