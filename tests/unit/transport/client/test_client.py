"""The client as programs use it: client.py, stream.py and connection.py.

It runs against a model of the service, without a socket and on a manual clock. tests/faults runs it
with the real service, real sockets and real faults.
"""

import asyncio
import gc
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import assert_type

import pytest

from actors.protocol.failure import Code, Failure
from actors.testing import ManualClock, leak_check, manual_clock, settle
from callboard.v1.chat_pb2 import (
    AskClosed,
    AskEvent,
    ChatCompleted,
    ChatError,
    ChatNotice,
    ChatToken,
    HistoryEntry,
    ListSessionsRequest,
    SendMessageRequest,
    SessionList,
    ToolCallEvent,
)
from callboard.v1.envelope_pb2 import ServerMessage
from callboard.v1.system_pb2 import ServiceStatus, ServiceStatusRequest
from tests.support.model_service import served
from tests.support.model_websocket import ModelDialer
from transport.client import Client, by_runtime_file, by_url
from transport.client.calls import ClientSettings, Endpoint
from transport.client.stream import Stream
from transport.discovery import RuntimeRecord, publish
from transport.errors import (
    ConnectionClosed,
    NotRunning,
    RequestFailed,
    SessionLost,
    TransportError,
    UnexpectedAnswer,
)

__all__ = ["leak_check", "manual_clock"]

pytestmark = pytest.mark.usefixtures("leak_check")
SETTINGS = ClientSettings(name="test", window=4, backoff_initial=1.0, give_up=60.0)


def say(text: str) -> SendMessageRequest:
    return SendMessageRequest(text=text, session_id="1")


class Stage:
    """A client, its dialer and its clock."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.dialer = ModelDialer()
        self.client = Client(
            by_url("ws://model", "the token"), SETTINGS,
            clock=clock, random=lambda: 1.0, dialer=self.dialer,
        )  # fmt: skip

    def sent(self) -> list[str | None]:
        return [message.WhichOneof("payload") for message in self.dialer.last.received[1:]]


@pytest.fixture
async def stage(manual_clock: ManualClock) -> AsyncIterator[Stage]:
    stage = Stage(manual_clock)
    async with stage.client:
        yield stage


# -- types -----------------------------------------------------------------------------------


async def typed(client: Client) -> None:
    """Check types: mypy reads this, and reports an unused ignore as an error. It is never run."""
    assert_type(await client.call(ListSessionsRequest(), SessionList), SessionList)
    assert_type(client.stream(say(""), ChatToken), Stream[ChatToken])
    two = client.stream(say(""), ChatToken, ChatNotice)
    async for answer in two:
        assert_type(answer, ChatToken | ChatNotice)
    many: Stream[ChatToken | ChatNotice | AskEvent | AskClosed | ChatCompleted] = client.stream(
        say(""), ChatToken, ChatNotice, AskEvent, AskClosed, ChatCompleted
    )
    del many
    answer_type = ChatToken
    wrong: SessionList = await client.call(say(""), answer_type)  # type: ignore[arg-type] # an error
    await client.call("hello", SessionList)  # type: ignore[arg-type] # an error
    client.stream(say(""), int)  # type: ignore[type-var] # an error
    del wrong


# -- requests --------------------------------------------------------------------------------


async def test_a_call_gives_its_answer(stage: Stage) -> None:
    assert stage.client.connected
    assert stage.client.welcome.backend == "model"
    assert await stage.client.call(ListSessionsRequest(), SessionList) == SessionList()


async def test_a_stream_gives_its_answers_and_ends(stage: Stage) -> None:
    got = [token.text async for token in stage.client.stream(say("30"), ChatToken)]
    assert got == [f"{n} " for n in range(30)]
    assert stage.client.protocol.in_flight == 0


async def test_the_last_answer_is_given_if_it_was_asked_for(stage: Stage) -> None:
    answers = [type(a) async for a in stage.client.stream(say("1"), ChatToken, ChatCompleted)]
    assert answers == [ChatToken, ChatCompleted]


async def test_answers_of_an_actor_type_of_ones_own_are_unpacked(stage: Stage) -> None:
    stage.dialer.last.silent = True
    asking = asyncio.create_task(stage.client.call(ServiceStatusRequest(), ServiceStatus))
    await settle()
    status = ServiceStatus(version="7")
    stage.dialer.last.say(served(status, request_id=1, sequence=1, end=True))
    assert await asking == status


async def test_an_error_is_a_failure_with_all_that_it_says(stage: Stage) -> None:
    stage.dialer.last.silent = True
    stream = stage.client.stream(say("x"), ChatToken)
    error = ChatError(
        code="RESOURCE_EXHAUSTED", message="too fast", retryable=True, retry_after_ms=1500
    )
    stage.dialer.last.say(served(error, request_id=1, sequence=1, end=True))
    with pytest.raises(RequestFailed, match="too fast") as caught:
        await stream.next()
    failed = caught.value
    assert isinstance(failed, Failure)
    assert isinstance(failed, TransportError)
    assert (failed.code, failed.retryable) == (Code.RESOURCE_EXHAUSTED, True)
    assert failed.retry_after == 1.5
    assert [answer async for answer in stream] == []


async def test_an_error_of_a_later_version_is_internal_and_named(stage: Stage) -> None:
    stage.dialer.last.silent = True
    stream = stage.client.stream(say("x"), ChatToken)
    error = ChatError(code="LATER", message="what")
    stage.dialer.last.say(served(error, request_id=1, sequence=1, end=True))
    with pytest.raises(RequestFailed, match="LATER: what") as caught:
        await stream.next()
    assert caught.value.code is Code.INTERNAL


async def test_an_answer_of_another_type_is_an_error_and_cancels(stage: Stage) -> None:
    with pytest.raises(UnexpectedAnswer, match="ChatToken") as caught:
        await stage.client.call(say("1000"), SessionList)
    assert isinstance(caught.value.answer, ChatToken)
    await settle()
    assert "cancel" in stage.sent()
    assert stage.client.protocol.in_flight == 0


async def test_a_call_that_ends_without_an_answer_is_an_error(stage: Stage) -> None:
    with pytest.raises(UnexpectedAnswer, match="ChatCompleted"):
        await stage.client.call(say("0"), SessionList)


@pytest.mark.parametrize(
    "unexpected",
    [
        served(ToolCallEvent(), request_id=1, sequence=1),
        served(ChatNotice(discard_tokens=1), request_id=1, sequence=1),
        served(ChatCompleted(), request_id=1, sequence=1),
        served(HistoryEntry(), request_id=1, sequence=1),
        served(ChatError(), request_id=1, sequence=1),
    ],
    ids=lambda message: message.WhichOneof("payload"),
)
async def test_any_unexpected_message_is_an_error(stage: Stage, unexpected: ServerMessage) -> None:
    stage.dialer.last.silent = True
    stream = stage.client.stream(say("x"), ChatToken)
    stage.dialer.last.say(unexpected)
    with pytest.raises(RequestFailed):
        await stream.next()
    await settle()
    assert stage.sent() == ["send_message", "cancel"]


async def test_what_cannot_be_unpacked_is_an_error(stage: Stage) -> None:
    stage.dialer.last.silent = True
    stream = stage.client.stream(ServiceStatusRequest(), ServiceStatus)
    message = served(ServiceStatus(), request_id=1, sequence=1, end=True)
    message.reply.value = b"\xff"
    stage.dialer.last.say(message)
    with pytest.raises(UnexpectedAnswer):
        await stream.next()


async def test_notices_and_what_a_later_version_says_are_passed_over(stage: Stage) -> None:
    stage.dialer.last.silent = True
    stream = stage.client.stream(say("x"), ChatToken)
    stage.dialer.last.say(
        served(ChatNotice(message="wait"), request_id=1, sequence=1),
        served(None, request_id=1, sequence=2),
        served(ChatToken(text="a"), request_id=1, sequence=3),
        served(ChatCompleted(), request_id=1, sequence=4, end=True),
    )
    assert [token.text async for token in stream] == ["a"]


async def test_an_ask_is_answered_through_the_stream(stage: Stage) -> None:
    got: list[str] = []
    stream = stage.client.stream(say("ask"), AskEvent, AskClosed)
    async for answer in stream:
        got.append(type(answer).__name__)
        if isinstance(answer, AskEvent):
            stream.answer(answer.ask_id, ["yes"])
    assert got == ["AskEvent", "AskClosed"]


# -- leaving ---------------------------------------------------------------------------------


async def test_break_cancels(stage: Stage) -> None:
    async for _ in stage.client.stream(say("1000"), ChatToken):
        break
    await settle()
    assert stage.sent()[-1] == "cancel"
    assert stage.client.protocol.in_flight == 0


async def test_break_cancels_a_stream_that_has_a_name_too(stage: Stage) -> None:
    stream = stage.client.stream(say("1000"), ChatToken)
    async for _ in stream:
        break
    await settle()
    assert stage.sent()[-1] == "cancel"
    assert [token async for token in stream] == []


async def test_an_exception_cancels(stage: Stage) -> None:
    with pytest.raises(ZeroDivisionError):
        async for _ in stage.client.stream(say("1000"), ChatToken):
            raise ZeroDivisionError
    await settle()
    assert stage.sent()[-1] == "cancel"


async def test_cancelling_a_task_that_waits_cancels_its_request(stage: Stage) -> None:
    async def read() -> None:
        async for _ in stage.client.stream(say("never"), ChatToken):
            pass

    tasks = [
        asyncio.create_task(read()),
        asyncio.create_task(stage.client.call(say("never"), ChatCompleted)),
    ]
    await settle()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await settle()
    assert stage.sent()[2:] == ["cancel", "cancel"]
    assert stage.client.protocol.in_flight == 0


async def test_leaving_the_context_cancels_at_once(stage: Stage) -> None:
    async with stage.client.stream(say("never"), ChatToken):
        await settle()
    async with stage.client.stream(say("1"), ChatToken) as whole:
        assert [token.text async for token in whole] == ["0 "]
    await settle()
    assert stage.sent() == ["send_message", "cancel", "send_message"]


async def test_a_stream_that_nobody_ever_reads_is_cancelled(stage: Stage) -> None:
    stage.client.stream(say("1000"), ChatToken)
    gc.collect()
    await settle()
    assert "cancel" in stage.sent()
    assert stage.client.protocol.in_flight == 0


async def test_a_cancelled_stream_says_that_it_was(stage: Stage) -> None:
    stream = stage.client.stream(say("never"), ChatToken)
    stream.cancel()
    with pytest.raises(RequestFailed) as caught:
        await stream.next()
    assert caught.value.code is Code.CANCELLED


async def test_a_wait_for_the_next_answer_can_be_cancelled_without_harm(stage: Stage) -> None:
    stream = stage.client.stream(say("ask"), AskEvent, AskClosed)
    assert isinstance(await stream.next(), AskEvent)
    waiting = asyncio.create_task(stream.next())
    await settle()
    waiting.cancel()
    await settle()
    stream.answer("a", ["yes"])
    assert isinstance(await stream.next(), AskClosed)
    stream.close()
    stream.close()


async def test_a_stream_may_outlive_its_client_and_its_loop() -> None:
    def elsewhere() -> Stream[ChatToken]:
        async def make() -> Stream[ChatToken]:
            client = Client(by_url("ws://model", "the token"), dialer=ModelDialer())
            async with client:
                return client.stream(say("never"), ChatToken)

        return asyncio.run(make())

    stream = await asyncio.to_thread(elsewhere)
    stream.drop()


# -- credit ----------------------------------------------------------------------------------


async def test_a_reader_that_does_not_consume_stops_its_stream(stage: Stage) -> None:
    slow = stage.client.stream(say("1000"), ChatToken)
    other = [token async for token in stage.client.stream(say("100"), ChatToken)]
    assert len(other) == 100
    (session,) = stage.dialer.service.sessions.values()
    assert session.running[1].sent == SETTINGS.window
    assert len([token async for token in slow]) == 1000


# -- cuts ------------------------------------------------------------------------------------


async def test_a_cut_is_not_seen(stage: Stage) -> None:
    got: list[str] = []
    async for token in stage.client.stream(say("20"), ChatToken):
        got.append(token.text)
        if len(got) in (5, 12):
            stage.dialer.last.cut()
            await settle()
            await stage.clock.advance(5.0)
    assert got == [f"{n} " for n in range(20)]
    assert stage.client.protocol.resumes == 2
    assert len(stage.dialer.service.sessions) == 1


async def test_a_request_made_while_away_goes_out_later(stage: Stage) -> None:
    stage.dialer.last.cut()
    await settle()
    assert not stage.client.connected
    asking = asyncio.create_task(stage.client.call(ListSessionsRequest(), SessionList))
    late = asyncio.create_task(stage.client.call(ListSessionsRequest(), SessionList, timeout=0.5))
    await stage.clock.advance(0.9)
    with pytest.raises(RequestFailed, match="DEADLINE_EXCEEDED"):
        await late
    assert await stage.clock.until(asking) == SessionList()


async def test_a_lost_session_fails_only_the_requests_in_it(stage: Stage) -> None:
    stream = stage.client.stream(say("never"), ChatToken)
    await settle()
    stage.dialer.service.sessions.clear()
    stage.dialer.last.cut()
    await stage.clock.advance(5.0)
    with pytest.raises(SessionLost):
        await stream.next()
    assert await stage.client.call(ListSessionsRequest(), SessionList) == SessionList()


async def test_a_silent_service_is_left_and_found_again(stage: Stage) -> None:
    stage.dialer.last.silent = True
    stream = stage.client.stream(say("2"), ChatToken)
    await stage.clock.advance(0.9)
    stage.dialer.last.ping()
    await stage.clock.advance(1.9)
    assert len(stage.dialer.websockets) == 1
    assert [token.text async for token in _after(stage, stream, 5.0)] == ["0 ", "1 "]
    assert stage.dialer.websockets[0].aborted


async def _after(
    stage: Stage, stream: Stream[ChatToken], seconds: float
) -> AsyncIterator[ChatToken]:
    await stage.clock.advance(seconds)
    async for token in stream:
        yield token


async def test_it_gives_up_in_the_end(stage: Stage) -> None:
    stream = stage.client.stream(say("never"), ChatToken)
    stage.dialer.refuses = True
    stage.dialer.last.cut()
    await stage.clock.advance(70.0)
    with pytest.raises(ConnectionClosed, match="refused"):
        await stream.next()
    assert stage.client.over
    with pytest.raises(ConnectionClosed):
        await stage.client.ready()
    with pytest.raises(ConnectionClosed):
        await stage.client.call(ListSessionsRequest(), SessionList)


async def test_a_connection_that_is_never_made_is_left(stage: Stage) -> None:
    stage.dialer.hangs = True
    stage.dialer.last.cut()
    await stage.clock.advance(12.0)
    assert len(stage.dialer.urls) == 2
    stage.dialer.hangs = False
    await stage.clock.advance(5.0)
    assert stage.client.connected


async def test_a_second_welcome_ends_the_client(stage: Stage) -> None:
    stream = stage.client.stream(say("never"), ChatToken)
    stage.dialer.last.say(served(ChatToken()), ServerMessage(welcome=stage.client.welcome))
    with pytest.raises(ConnectionClosed, match="1002"):
        await stream.next()
    await settle()
    assert stage.dialer.last.closed is not None
    assert stage.dialer.last.closed[0] == 1002


# -- the beginning and the end ---------------------------------------------------------------


async def test_leaving_says_goodbye(stage: Stage) -> None:
    stream = stage.client.stream(say("never"), ChatToken)
    await settle()
    await stage.client.aclose()
    assert stage.dialer.last.closed == (1000, "")
    assert stage.dialer.closed
    with pytest.raises(ConnectionClosed, match="1000"):
        await stream.next()
    assert stage.clock.pending == 0


async def test_leaving_while_away_waits_for_nothing(stage: Stage) -> None:
    stage.dialer.last.cut()
    await settle()
    await stage.client.aclose()
    assert stage.dialer.last.closed is None


async def test_leaving_while_connecting_waits_for_nothing(stage: Stage) -> None:
    stage.dialer.hangs = True
    stage.dialer.last.cut()
    await stage.clock.advance(2.0)
    await stage.client.aclose()
    assert stage.clock.pending == 0


async def test_leaving_does_not_wait_for_a_socket_that_takes_nothing(stage: Stage) -> None:
    stage.dialer.last.stuck = asyncio.Event()
    stage.client.stream(say("never"), ChatToken)
    await settle()
    await stage.clock.until(stage.client.aclose(), within=5.0)
    assert stage.dialer.last.aborted


async def test_a_finder_that_breaks_ends_the_calls(manual_clock: ManualClock) -> None:
    stage = Stage(manual_clock)

    def broken() -> Endpoint:
        raise PermissionError("not yours")

    client = Client(broken, clock=manual_clock, dialer=stage.dialer)
    with pytest.raises(PermissionError):
        await client.__aenter__()
    assert client.over


async def test_a_client_that_is_cancelled_while_it_connects_leaves_nothing(
    manual_clock: ManualClock,
) -> None:
    stage = Stage(manual_clock)
    stage.dialer.hangs = True
    entering = asyncio.create_task(stage.client.__aenter__())
    await settle()
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert stage.dialer.closed


async def test_a_first_connection_that_is_refused_is_an_error(manual_clock: ManualClock) -> None:
    stage = Stage(manual_clock)
    stage.dialer.refuses = True
    with pytest.raises(ConnectionClosed, match="refused"):
        async with stage.client:
            pass
    assert len(stage.dialer.urls) == 1


def record(folder: Path, url: str, token: str, started_at: float) -> None:
    publish(folder, RuntimeRecord(os.getpid(), url, "", token, "model", "0", started_at))


async def test_no_runtime_file(tmp_path: Path) -> None:
    with pytest.raises(NotRunning):
        async with Client(by_runtime_file(tmp_path), dialer=ModelDialer()):
            pass


async def test_a_service_that_was_started_anew_is_found(
    tmp_path: Path, manual_clock: ManualClock
) -> None:
    now = time.time()
    record(tmp_path, "ws://one", "the token", now)
    dialer = ModelDialer()
    client = Client(by_runtime_file(tmp_path), SETTINGS, clock=manual_clock, dialer=dialer)
    async with client:
        dialer.service.token = "the next token"
        dialer.service.sessions.clear()
        dialer.last.cut()
        await settle()
        record(tmp_path, "ws://two", "the next token", now + 1)
        await manual_clock.advance(5.0)
        assert client.connected
        assert dialer.urls == ["ws://one", "ws://one", "ws://two"]
        # A token that the service has refused is not tried again.
        dialer.service.token = "another"
        dialer.last.cut()
        await manual_clock.advance(5.0)
        assert client.over
        assert dialer.urls[3:] == ["ws://two"]


async def test_without_any_service_it_waits_for_one(
    tmp_path: Path, manual_clock: ManualClock
) -> None:
    record(tmp_path, "ws://one", "the token", time.time())
    dialer = ModelDialer()
    client = Client(by_runtime_file(tmp_path), SETTINGS, clock=manual_clock, dialer=dialer)
    async with client:
        stream = client.stream(say("never"), ChatToken)
        await settle()
        dialer.refuses = True
        (tmp_path / f"{os.getpid()}.json").unlink()
        dialer.last.cut()
        await manual_clock.advance(2.0)
        with pytest.raises(SessionLost):
            await stream.next()
        assert not client.over
        dialer.refuses = False
        await manual_clock.advance(20.0)
        assert client.connected
