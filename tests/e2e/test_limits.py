"""Requests over a limit are refused with advice when to retry; some frames never are."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.contract_client import kinds_of, message
from tests.e2e.raw_client import RawClient
from tests.e2e.service_process import ServiceProcess, run, running

LIST = {"list_sessions": message("ListSessionsRequest")}


def limited(folder: Path, **settings: object) -> Any:
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    return running(folder, "--backend", "echo", *flags)


@pytest.mark.parametrize("by", ["messages", "bytes"])
async def test_the_retry_advice_is_correct_and_refusals_are_counted(
    tmp_path: Path, by: str
) -> None:
    limits: dict[str, object] = (
        {"messages_per_second": 2, "message_burst": 2}
        if by == "messages"
        else {"bytes_per_second": 1600, "byte_burst": 1700}
    )
    title = "x" * 800
    with limited(tmp_path, **limits) as service:
        async with service.connect() as client:
            create = {"create_session": message("CreateSessionRequest", title=title)}
            answers = [await client.call(**create) for _ in range(3)]
            kinds = [answer.WhichOneof("payload") for answer in answers]
            assert kinds == ["session_info", "session_info", "error"]
            error = answers[-1].error
            assert (error.code, error.retryable) == ("RESOURCE_EXHAUSTED", True)
            assert 0 < error.retry_after_ms <= 500
            await asyncio.sleep(error.retry_after_ms / 1000)  # the advice is what is tested
            assert (await client.call(**create)).WhichOneof("payload") == "session_info"
            name = f'callboard_requests_limited_total{{limit="{by}"}}'
            assert await service.metric(name) == 1


async def test_requests_in_flight_have_a_limit_and_ends_make_room(tmp_path: Path) -> None:
    with limited(tmp_path, max_requests_in_flight=2) as service:
        async with service.connect() as client:
            conversations = [await client.conversation() for _ in range(3)]
            running_on = [await client.say(it, "[[ask:question]]") for it in conversations[:2]]
            for request_id in running_on:
                await client.queue(request_id).get()
            refused = (await client.reply(conversations[2], "a"))[-1].error
            assert (refused.code, refused.retryable) == ("RESOURCE_EXHAUSTED", True)
            assert refused.retry_after_ms == 0  # their ends cannot be predicted
            await client.send(running_on[0], cancel=message("CancelRequest"))
            await client.all(running_on[0])
            reply = await client.reply(conversations[2], "a")
            while kinds_of(reply) == ["error"]:  # until the cancelled handler has ended
                assert (reply[-1].error.code, reply[-1].error.retryable) == (refused.code, True)
                reply = await client.reply(conversations[2], "a")
            assert kinds_of(reply) == ["token", "completed"]


async def test_cancel_credit_ack_ping_and_answer_are_never_refused(tmp_path: Path) -> None:
    with limited(tmp_path, messages_per_second=0.001, message_burst=4) as service:
        async with service.connect(initial_credit=1) as client:
            one, two = await client.conversation(), await client.conversation()
            asking = await client.say(one, "[[ask:question]]")
            streaming = await client.say(two, "[[repeat:1000]]")
            asked = await client.queue(asking).get()
            await client.queue(streaming).get()
            assert (await client.call(**LIST)).error.code == "RESOURCE_EXHAUSTED"
            await client.send(0, ack=message("Ack", sequence=client.last_sequence))
            await client.send(0, ping=message("Ping", nonce=7))
            assert (await client.queue(0).get()).pong.nonce == 7
            await client.send(asking, credit=message("Credit", limit=100))
            answer = message("AnswerRequest", ask_id=asked.ask.ask_id, answers=["yes"])
            await client.send(asking, answer=answer)
            assert kinds_of(await client.all(asking))[-1] == "completed"
            await client.send(streaming, cancel=message("CancelRequest"))
            assert (await client.all(streaming))[-1].error.code == "CANCELLED"


async def test_a_flood_of_any_frames_is_4505_and_the_session_has_ended(tmp_path: Path) -> None:
    with limited(tmp_path, messages_per_second=1, message_burst=10) as service:
        flood = RawClient(service.port, service.token)
        welcome = await flood.connect()
        async with service.connect() as other:
            pings = [flood.framed(0, ping=message("Ping", nonce=nonce)) for nonce in range(200)]
            flood.write(b"".join(pings))
            assert await flood.close_code() == 4505
            resume = message("Resume", resume_token=welcome.resume_token)
            async with service.connect(resume=resume) as again:
                assert not again.welcome.resumed
            assert await other.conversation()
        await flood.close()


async def test_a_rate_of_0_is_no_limit_and_is_said_so(tmp_path: Path) -> None:
    with limited(tmp_path, messages_per_second=0, bytes_per_second=0) as service:
        async with service.connect() as client:
            assert client.welcome.limits.messages_per_second == 0
            assert client.welcome.limits.bytes_per_second == 0
            for _ in range(11):
                answers = [await client.open(**LIST) for _ in range(100)]
                for request_id in answers:
                    assert (await client.all(request_id))[-1].WhichOneof("payload") != "error"


async def test_status_shows_sessions_that_are_away_and_what_was_refused(
    tmp_path: Path,
) -> None:
    with limited(tmp_path, messages_per_second=0.001, message_burst=1) as service:
        async with service.connect() as client:
            await client.call(**LIST)
            await client.call(**LIST)
            await client.lose()
            await service.until("callboard_sessions_away", 1)
            assert await client.resume()
            resume = message(
                "Resume",
                resume_token=client.welcome.resume_token,
                last_sequence=client.last_sequence,
            )
            async with service.connect(resume=resume) as second:
                await second.lose()
            await service.until("callboard_sessions_away", 1)
            status = show(service, tmp_path, "--json")
            assert json.loads(status)["sessions_away"] == 1
            assert json.loads(status)["refused_requests"] == {"messages": "1"}
            assert (json.loads(status)["resumes"], json.loads(status)["take_overs"]) == ("2", "1")
            text = " ".join(show(service, tmp_path).split())
            assert "(connections: 1, away: 1); 2 resumed, 1 of them taken over" in text
            assert "refused 1 by messages" in text


def show(service: ServiceProcess, folder: Path, *flags: str) -> str:
    """Run `callboard status` and return its output."""
    code, out, err = run(folder, "status", *flags, COLUMNS="200")
    assert code == 0, err
    return out
