"""Floods and slow or silent peers have bounded costs, and good clients are served meanwhile."""

import asyncio
import contextlib
import re
from collections.abc import Iterator

import pytest

from tests.e2e.contract_client import message
from tests.e2e.service_process import ServiceProcess, running
from tests.security.raw import (
    PING,
    client_message,
    frame,
    greeted,
    memory_of,
    open_files,
    plain,
    still_serves,
    upgraded,
)
from transport.server.lobby import REQUESTS

MEGABYTE = 1024 * 1024
SLOW = 500


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service with short timeouts and low limits."""
    flags = ["--slow-consumer-ms", "1000", "--max-handshakes", "5", "--message-burst", "50"]
    flags += ["--drain-ms", "100"]  # a reply that nobody reads does not end
    with running(tmp_path_factory.mktemp("strict"), "--backend", "echo", *flags) as service:
        yield service
        assert service.process.poll() is None


async def test_five_hundred_slow_connections_do_not_hold_a_good_client_up(
    service: ServiceProcess,
) -> None:
    before = open_files(service)
    partial = f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\nX-Slow: ".encode()
    async with contextlib.AsyncExitStack() as stack:
        slow = [await stack.enter_async_context(plain(service)) for _ in range(SLOW)]
        for one in slow:
            await one.send(partial)

        async def drip() -> None:
            with contextlib.suppress(ConnectionError):
                while True:
                    for one in slow:
                        await one.send(b"x")

        dripping = asyncio.create_task(drip())
        try:
            async with service.connect() as good:
                conversation = await good.conversation("good")
                assert not slow[-1].reader.at_eof()  # the slow connections are still open
                for _ in range(5):
                    answers = await good.reply(conversation, "as before")
                    assert (answers[0].token.text, len(answers)) == ("as", 3)
        finally:
            dripping.cancel()
            await asyncio.gather(dripping, return_exceptions=True)
        # Each is cut off after the handshake timeout (3 s here), however it drips.
        await asyncio.gather(*(one.end() for one in slow))
    async with asyncio.timeout(20), service.connect() as good:
        while open_files(service) > before + 5:
            await good.conversation()


async def test_a_slow_body_is_not_waited_for(service: ServiceProcess) -> None:
    async with plain(service) as raw:
        head = f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\n"
        await raw.send(head.encode() + b"Content-Length: 9\r\n\r\n")
        assert (await raw.response())[0] == 200
        await raw.end()


async def test_connections_without_hello_are_capped_and_the_oldest_gives_way(
    strict: ServiceProcess,
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        silent = [await stack.enter_async_context(upgraded(strict)) for _ in range(6)]
        await still_serves(strict)
        await silent[0].end()
        for raw in silent[1:]:
            assert not raw.reader.at_eof()


async def test_silent_connections_that_are_renewed_lock_nobody_out(
    strict: ServiceProcess,
) -> None:
    served = 0

    async def hold() -> None:
        while True:
            async with upgraded(strict) as raw:
                await raw.end()

    async with asyncio.TaskGroup() as group:
        attackers = [group.create_task(hold()) for _ in range(10)]
        while served < 20:
            await still_serves(strict)
            served += 1
        for attacker in attackers:
            attacker.cancel()


async def test_connections_without_a_request_lock_nobody_out(strict: ServiceProcess) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(REQUESTS + 50):
            await stack.enter_async_context(plain(strict))
        await still_serves(strict)


async def test_a_flood_of_messages_gets_4505(strict: ServiceProcess) -> None:
    async with greeted(strict) as raw:
        ping = frame(client_message(ping=message("Ping", nonce=1)))
        with contextlib.suppress(ConnectionError):
            await raw.send(ping * 20_000)  # 5,000 a second are allowed
        assert await raw.close_code() == 4505
    await still_serves(strict)


async def test_a_flood_of_empty_messages_gets_4505(strict: ServiceProcess) -> None:
    async with greeted(strict) as raw:
        with contextlib.suppress(ConnectionError):
            await raw.send(frame(b"") * 100_000)
        assert await raw.close_code() == 4505


async def test_a_flood_of_requests_is_refused_with_advice(strict: ServiceProcess) -> None:
    async with greeted(strict) as raw:
        listing = message("ListSessionsRequest")
        requests = [frame(client_message(i, list_sessions=listing)) for i in range(1, 101)]
        await raw.send(*requests)
        errors = [answer.error for answer in [await raw.answer() for _ in requests]]
        refusals = [error for error in errors if error.code == "RESOURCE_EXHAUSTED"]
        assert refusals
        assert all(error.retry_after_ms > 0 for error in refusals)


async def closed_with(service: ServiceProcess, code: int) -> float:
    """Return how many connections the service has closed with this code."""
    async with plain(service) as raw:
        head = f"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\nConnection: close\r\n"
        await raw.send(f"{head}Authorization: Bearer {service.token}\r\n\r\n".encode())
        text = (await raw.reader.read()).decode()
    found = re.search(rf'closed_total{{code="{code}"}} (\S+)', text)
    return float(found[1]) if found else 0.0


async def test_a_peer_that_never_reads_is_ended_and_costs_no_memory(strict: ServiceProcess) -> None:
    before = memory_of(strict)
    async with strict.connect() as good:
        conversation = await good.conversation("unread")
        async with greeted(strict) as raw:
            raw.writer.transport.pause_reading()  # type: ignore[attr-defined]  # asyncio's own
            much = "word [[repeat:1000000]]"
            endless = message("SendMessageRequest", session_id=conversation, text=much)
            before_it = await closed_with(strict, 4002)
            await raw.send(frame(client_message(1, send_message=endless)))
            for _ in range(20):  # fewer than the message burst
                await good.conversation()
            while await closed_with(strict, 4002) == before_it:
                pass
            assert memory_of(strict) - before < 32 * MEGABYTE
            raw.writer.transport.resume_reading()  # type: ignore[attr-defined]  # asyncio's own
            assert await raw.close_code() == 1006, "its close is behind what it did not read"
        await good.conversation()


async def test_pings_of_a_peer_that_never_reads_cost_no_memory(service: ServiceProcess) -> None:
    before = memory_of(service)
    async with greeted(service) as raw:
        raw.writer.transport.pause_reading()  # type: ignore[attr-defined]  # asyncio's own
        pings = frame(b"x" * 125, PING) * 1000
        for _ in range(400):  # 50 MB of pongs, if all were kept
            await raw.send(pings)
        assert memory_of(service) - before < 24 * MEGABYTE
    await still_serves(service)


async def test_a_log_does_not_grow_with_what_peers_send(strict: ServiceProcess) -> None:
    before = strict.log.stat().st_size
    for _ in range(20):
        async with plain(strict) as raw:
            await raw.send(b"\0" * 8000 + b"\r\n\r\n")
            await raw.end()
    assert strict.log.stat().st_size - before < 20 * 4000
