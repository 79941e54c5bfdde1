"""Clients that do not read or acknowledge cost bounded memory, get 4002 and delay nobody else.

The service runs inside the test here, so that its buffers can be measured; the sockets are real.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from actors.protocol.frames import Ping, Signal
from actors.protocol.machine import SessionMachine
from tests.e2e.contract_client import kinds_of, message, text_of
from tests.e2e.watched_service import Watched, watching

MIB = 1024 * 1024
REPLAY = 4 * MIB
OUTBOX = 256 * 1024
TRANSPORT = 96 * 1024
ANSWER = 64
"""Upper bound in bytes of one answer of these tests on the wire."""
END = 128
"""The same for the end of a reply that was stalled, which needs no room."""


@pytest.fixture
def settings(request: pytest.FixtureRequest) -> dict[str, object]:
    """The settings that a test passes with `parametrize(..., indirect=True)`."""
    return dict(getattr(request, "param", {}))


@pytest.fixture
async def watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, object]
) -> AsyncIterator[Watched]:
    async with watching(tmp_path, monkeypatch, backend="echo", **settings) as service:
        yield service


@pytest.mark.parametrize(
    "settings", [{"slow_consumer_ms": 400, "resume_buffer_messages": 1_000_000}], indirect=True
)
async def test_one_of_a_hundred_that_never_reads(watched: Watched) -> None:
    slow = watched.raw()
    name = (await slow.connect()).session
    others = [watched.connect() for _ in range(99)]
    for other in others:
        await other.__aenter__()
    conversations = [await other.conversation() for other in others]
    text, session_id = "[[repeat:2000000]]", await others[0].conversation()
    slow.send(1, send_message=message("SendMessageRequest", session_id=session_id, text=text))
    held: list[int] = []
    in_transport: list[int] = []
    closed = 'callboard_connections_closed_total{code="4002"} 1.0'
    while closed not in watched.service._metrics.expose().decode():
        for other, conversation in zip(others, conversations, strict=True):
            reply = await other.reply(conversation, "[[repeat:20]]")
            assert text_of(reply) == "".join(f"{number:03} " for number in range(20))
            held.append(watched.held(name))
            if watched.session(name).connection is not None:
                in_transport.append(watched.in_transport(name))
    assert OUTBOX <= max(held) <= REPLAY + OUTBOX + ANSWER + END
    assert TRANSPORT // 4 <= max(in_transport) <= TRANSPORT
    assert len(held) >= 30
    for other in others:
        await other.__aexit__(None, None, None)
    await slow.close()


# The operating system reports a reader's progress in large steps; the limit allows for them.
@pytest.mark.parametrize("settings", [{"slow_consumer_ms": 1500}], indirect=True)
async def test_a_slow_reader_is_no_slow_consumer_and_gets_it_all(watched: Watched) -> None:
    slow = watched.raw()
    await slow.connect()
    async with watched.connect() as other:
        conversation = await other.conversation()
    text = "[[repeat:600000]]"
    slow.send(1, send_message=message("SendMessageRequest", session_id=conversation, text=text))
    first = await slow.answer()
    assert first.sequence == 1
    for sequence in range(2, 20_000):
        assert (await slow.answer()).sequence == sequence
        if sequence % 1000 == 0:
            await asyncio.sleep(0.1)  # slower than the stream, and never as long as the limit
    slow.send(1, cancel=message("CancelRequest"))
    answer = first
    while not answer.end:
        answer = await slow.answer()
    assert answer.error.code == "CANCELLED"
    await slow.close()


@pytest.mark.parametrize(
    "settings", [{"slow_consumer_ms": 200, "resume_buffer_messages": 20}], indirect=True
)
async def test_a_client_that_reads_and_never_acknowledges_gets_4002_and_can_resume(
    watched: Watched,
) -> None:
    async with watched.connect(acknowledges=True) as client:
        request_id = await client.say(await client.conversation(), "[[repeat:40]]")
        await client.socket.wait_closed()
        assert client.socket.close_code == 4002
        assert client.last_sequence == 20
        assert await client.resume()
        answers: list[Any] = []
        while not answers or not answers[-1].end:
            answers.append(await client.queue(request_id).get())
            await client.send(0, ack=message("Ack", sequence=client.last_sequence))
        assert text_of(answers) == "".join(f"{number:03} " for number in range(40))


@pytest.mark.parametrize(
    "settings", [{"messages_per_second": 0, "resume_buffer_messages": 100}], indirect=True
)
async def test_a_client_that_keeps_asking_and_never_reads_gets_4002_at_once(
    watched: Watched,
) -> None:
    unknown = message("google.protobuf.Any", type_url="type.googleapis.com/no.such.Request")
    greedy = watched.raw()
    name = (await greedy.connect()).session
    for request_id in range(1, 400_000):
        greedy.send(request_id, call=unknown)
        if request_id % 200 == 0:
            await greedy._writer.drain()
            await asyncio.sleep(0)
            session = watched.session(name)
            assert session.machine.output.flow.unsent <= 4 * 100
            if session.connection is None or session.connection._closing:  # type: ignore[attr-defined]  # a Channel
                break
    else:
        raise AssertionError("never closed")
    await greedy.close()


async def test_a_session_that_crashes_is_4004_and_hurts_no_other(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive = SessionMachine.receive

    def break_on_666(self: SessionMachine[Any], frame: Signal, size: int, now: float) -> Any:
        if isinstance(frame, Ping) and frame.nonce == 666:
            raise RuntimeError("a fault in the session")
        return receive(self, frame, size, now)

    monkeypatch.setattr(SessionMachine, "receive", break_on_666)
    async with watched.connect() as client, watched.connect() as other:
        await client.say(await client.conversation(), "[[ask:question]]")
        asking = await other.say(await other.conversation(), "[[ask:question]]")
        asked = (await other.queue(asking).get()).ask
        await client.send(0, ping=message("Ping", nonce=666))
        await client.socket.wait_closed()
        assert client.socket.close_code == 4004
        assert not await client.resume()
        assert client.welcome.last_request_id == 0
        answer = message("AnswerRequest", ask_id=asked.ask_id, answers=["yes"])
        await other.send(asking, answer=answer)
        assert kinds_of(await other.all(asking))[-1] == "completed"
