"""A client within all limits makes the service hold at most 96 MiB a session, as measured."""

import asyncio
import contextlib
from collections.abc import Iterator

import pytest

from tests.e2e.contract_client import Contract, message
from tests.e2e.service_process import ServiceProcess, running
from tests.security.raw import Raw, client_message, frame, greeted, memory_of, still_serves

MEGABYTE = 1024 * 1024
A_SESSION = 96 * MEGABYTE
"""Bytes that an attack may cost for each session of the attacker."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    flags = ("--backend", "echo", "--drain-ms", "100")
    with running(tmp_path_factory.mktemp("memory"), *flags) as service:
        yield service
        assert service.process.poll() is None


async def most_while(service: ServiceProcess, seconds: float = 2.0) -> int:
    """Return the most bytes that the service holds in this time, while it serves others."""
    most = 0
    async with asyncio.timeout(30.0), service.connect() as good:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while loop.time() < until:
            await good.conversation()
            most = max(most, memory_of(service))
    return most


async def exchanges(client: Contract, count: int, size: int) -> str:
    """Make a conversation with this many messages of this size and replies; return its id."""
    conversation = await client.conversation()
    for _ in range(count):
        answers = await client.reply(conversation, "x" * size)
        assert answers[-1].WhichOneof("payload") == "completed", answers[-1]
    return conversation


def never_reads(raw: Raw) -> None:
    raw.writer.transport.pause_reading()  # type: ignore[attr-defined]  # asyncio's own


async def test_histories_that_nobody_reads(service: ServiceProcess) -> None:
    async with service.connect() as client:
        conversation = await exchanges(client, 15, 1_000_000)
    before = memory_of(service)
    async with greeted(service) as raw:
        never_reads(raw)
        history = message("GetHistoryRequest", session_id=conversation)
        for number in range(1, 201):
            await raw.send(frame(client_message(number, get_history=history)))
        most = await most_while(service)
    assert most - before < A_SESSION
    await still_serves(service)


async def test_lists_that_nobody_reads(service: ServiceProcess) -> None:
    async with service.connect(initial_credit=0) as client:
        for _ in range(20):
            create = message("CreateSessionRequest", title="x" * 900)
            ids = [await client.open(create_session=create) for _ in range(200)]
            for request_id in ids:
                await client.all(request_id)
    before = memory_of(service)
    async with greeted(service) as raw:
        never_reads(raw)
        for number in range(1, 201):
            listing = client_message(number, list_sessions=message("ListSessionsRequest"))
            await raw.send(frame(listing))
        most = await most_while(service)
    assert most - before < A_SESSION
    await still_serves(service)


async def test_answers_to_a_reply_that_awaits_none(service: ServiceProcess) -> None:
    before = memory_of(service)
    async with greeted(service) as raw, service.connect() as other:
        conversation = await other.conversation()
        slow = message(
            "SendMessageRequest", session_id=conversation, text="[[delay:3600000]]never said"
        )
        await raw.send(frame(client_message(1, send_message=slow)))
        for ask_id in ("ask-1", ""):
            answer = message("AnswerRequest", ask_id=ask_id, message="x" * 1_000_000)
            data = frame(client_message(1, answer=answer))
            for _ in range(300):
                await raw.send(data)
        most = await most_while(service)
    assert most - before < A_SESSION
    await still_serves(service)


@pytest.mark.parametrize("of_this_ask", [True, False])
async def test_answers_to_an_ask_whose_handler_does_not_take_them(
    service: ServiceProcess, of_this_ask: bool
) -> None:
    """Answers that an ask does not allow, or to no ask at all, are soon gone."""
    before = memory_of(service)
    async with greeted(service, initial_credit=1) as raw, service.connect() as other:
        conversation = await other.conversation()
        asking = message(
            "SendMessageRequest", session_id=conversation, text="[[ask:question]]thanks"
        )
        await raw.send(frame(client_message(1, send_message=asking)))
        asked = await raw.answer()
        assert asked.WhichOneof("payload") == "ask"
        ask_id = asked.ask.ask_id if of_this_ask else "none"
        # A list of empty texts takes many times its
        # encoded size once it is decoded.
        answer = message("AnswerRequest", ask_id=ask_id, answers=[""] * 450_000)
        data = frame(client_message(1, answer=answer))
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                await raw.send(data)
        most = await most_while(service)
    assert most - before < A_SESSION
    await still_serves(service)


async def test_messages_that_wait_for_their_turn(service: ServiceProcess) -> None:
    before = memory_of(service)
    async with greeted(service) as raw, service.connect() as other:
        number = 0
        for _ in range(8):
            conversation = await other.conversation()
            for text in ("[[delay:3600000]]never", *["x" * 1_000_000] * 15):
                number += 1
                send = message("SendMessageRequest", session_id=conversation, text=text)
                await raw.send(frame(client_message(number, send_message=send)))
        most = await most_while(service)
    assert most - before < A_SESSION
    await still_serves(service)


async def test_many_sessions_hold_no_more_than_the_budget(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    flags = ("--backend", "echo", "--drain-ms", "100", "--memory-budget", str(64 * MEGABYTE))
    with running(tmp_path_factory.mktemp("budget"), *flags) as service:
        async with contextlib.AsyncExitStack() as stack:
            other = await stack.enter_async_context(service.connect())
            before = memory_of(service)
            for _ in range(12):
                raw = await stack.enter_async_context(greeted(service))
                never_reads(raw)
                number = 0
                for _ in range(2):
                    conversation = await other.conversation()
                    for text in ("[[delay:3600000]]never", *["x" * 1_000_000] * 12):
                        number += 1
                        send = message("SendMessageRequest", session_id=conversation, text=text)
                        await raw.send(frame(client_message(number, send_message=send)))
            most = await most_while(service)
            # Three times the budget: Python's own objects are not counted.
            assert most - before < 3 * 64 * MEGABYTE
            await still_serves(service)
