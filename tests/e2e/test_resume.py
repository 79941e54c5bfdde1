"""A session outlives its connection: edge cases of resuming it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.e2e.contract_client import Contract, kinds_of, message, text_of
from tests.e2e.raw_client import RawClient
from tests.e2e.service_process import ServiceProcess, running

LIST = {"list_sessions": message("ListSessionsRequest")}
NUMBERS = "".join(f"{number:03} " for number in range(1000))


def check(client: Contract) -> None:
    """Check that each answer came once, in order, over all connections, and each end once."""
    answers = [answer for answer in client.received if answer.request_id]
    assert [answer.sequence for answer in answers] == [*range(1, len(answers) + 1)]
    ended = [answer.request_id for answer in answers if answer.end]
    assert len(ended) == len({*ended})


async def take(client: Contract, request_id: int, count: int) -> list[Any]:
    """Take this many answers to the request, and leave the rest in its queue."""
    queue = client.queue(request_id)
    return [await queue.get() for _ in range(count)]


@pytest.mark.parametrize("acknowledges", [False, True])
async def test_a_stream_goes_on_where_it_was(shared: ServiceProcess, acknowledges: bool) -> None:
    async with shared.connect(acknowledges=acknowledges) as client:
        request_id = await client.say(await client.conversation(), "[[delay:1]][[repeat:300]]")
        for _ in range(5):
            await take(client, request_id, 20)
            await client.lose()
            assert await client.resume()
            assert client.welcome.last_request_id == request_id
        assert kinds_of(await client.all(request_id))[-1] == "completed"
        check(client)
        ours = [answer for answer in client.received if answer.request_id == request_id]
        assert text_of(ours) == NUMBERS[: 300 * 4]


async def test_requests_end_while_nobody_is_there_and_are_answered_later(
    echo: ServiceProcess,
) -> None:
    async with echo.connect() as client:
        conversation = await client.conversation()
        request_id = await client.say(conversation, "[[delay:100]]a b")
        await client.lose()
        await echo.until('callboard_requests_total{code="OK",type="SendMessageRequest"}', 1)
        assert await echo.metric("callboard_sessions_away") == 1
        assert await client.resume()
        assert await echo.metric("callboard_sessions_away") == 0
        assert text_of(await client.all(request_id)) == "a b"
        check(client)


async def test_a_welcome_that_was_lost_costs_nothing(shared: ServiceProcess) -> None:
    async with shared.connect() as client:
        request_id = await client.say(await client.conversation(), "[[repeat:100]]")
        await take(client, request_id, 10)
        await client.lose()
        resume = message(
            "Resume",
            resume_token=client.welcome.resume_token,
            last_sequence=client.last_sequence,
        )
        hello = message("Hello", token=shared.token, resume=resume)
        for _ in range(3):
            socket = await connect(shared.url, proxy=None)
            await socket.send(message("ClientMessage", hello=hello).SerializeToString())
            socket.transport.abort()
            await socket.wait_closed()
        assert await client.resume()
        await client.all(request_id)
        check(client)


async def test_what_never_arrived_is_sent_again_under_its_id(shared: ServiceProcess) -> None:
    async with shared.connect() as client:
        first = await client.open(**LIST)
        await client.all(first)
        await client.lose()
        lost = first + 1
        assert await client.resume()
        assert client.welcome.last_request_id == first
        assert await client.open(**LIST) == lost
        await client.all(lost)
        check(client)


async def test_credit_that_was_lost_or_sent_twice(shared: ServiceProcess) -> None:
    async with shared.connect(initial_credit=5) as client:
        request_id = await client.say(await client.conversation(), "[[repeat:20]]")
        await take(client, request_id, 5)
        for limit in (8, 12):
            await client.lose()
            assert await client.resume()
            for _ in range(2):
                await client.send(request_id, credit=message("Credit", limit=limit))
            await take(client, request_id, limit - (5 if limit == 8 else 8))
            await client.call(**LIST)  # any other answer would have come before this one
            assert client.queue(request_id).empty()
        await client.send(request_id, credit=message("Credit", limit=100))
        assert kinds_of(await client.all(request_id)) == ["token", "completed"]
        check(client)


async def test_an_answer_that_was_lost_or_sent_twice(shared: ServiceProcess) -> None:
    async with shared.connect() as client:
        request_id = await client.say(await client.conversation(), "[[ask:question]]after")
        (asked,) = await take(client, request_id, 1)
        await client.lose()
        assert await client.resume()
        for answer in ("yes", "no", "yes"):
            sent = message("AnswerRequest", ask_id=asked.ask.ask_id, answers=[answer])
            await client.send(request_id, answer=sent)
        rest = await client.all(request_id)
        assert kinds_of(rest) == ["ask_closed", "token", "completed"]
        assert list(rest[0].ask_closed.answers) == ["yes"]
        check(client)


@pytest.mark.parametrize("times", [1, 2])
async def test_a_cancel_that_was_lost(shared: ServiceProcess, times: int) -> None:
    async with shared.connect() as client:
        request_id = await client.say(await client.conversation(), "[[delay:5]][[repeat:100000]]")
        await take(client, request_id, 3)
        await client.lose()
        assert await client.resume()
        for _ in range(times):
            await client.send(request_id, cancel=message("CancelRequest"))
        assert (await client.all(request_id))[-1].error.code == "CANCELLED"
        await client.call(**LIST)
        check(client)


async def test_a_client_that_resumes_repeatedly_reads_no_answer_twice(
    shared: ServiceProcess,
) -> None:
    async with shared.connect(acknowledges=True) as client:
        request_id = await client.say(await client.conversation(), "[[repeat:3000]]")
        for _ in range(20):
            await take(client, request_id, 1)
            await client.lose()
            assert await client.resume()
            await client.send(0, ack=message("Ack", sequence=client.last_sequence))
        await client.all(request_id)
        check(client)


# -- sessions that cannot be resumed -------------------------------------------------------------


async def test_after_the_window_the_session_is_gone_and_its_requests_were_cancelled(
    tmp_path: Path,
) -> None:
    flags = ("--backend", "echo", "--resume-window-ms", "50")
    with running(tmp_path, *flags) as service:
        async with service.connect() as client:
            name = client.welcome.session
            await client.say(await client.conversation(), "[[ask:question]]")
            await client.lose()
            ended = 'callboard_requests_total{code="CANCELLED",type="SendMessageRequest"}'
            await service.until(ended, 1)
            await service.until("callboard_sessions_away", 0)
            assert not await client.resume()
            assert client.welcome.session != name
            assert client.welcome.last_request_id == 0


@pytest.mark.parametrize("live", [True, False])
async def test_a_gap_costs_the_whole_session(tmp_path: Path, live: bool) -> None:
    flags = ("--backend", "echo", "--resume-buffer-messages", "10")
    with running(tmp_path, *flags) as service:
        async with service.connect() as client:
            conversation = await client.conversation()
            await client.reply(conversation, "[[repeat:50]]")
            running_on = await client.say(conversation, "[[ask:question]]")
            await take(client, running_on, 1)
            first, reader = client.socket, client._reader
            assert reader is not None
            if not live:
                await client.lose()
            assert not await client.resume(after=1)
            assert client.welcome.last_request_id == 0
            if live:
                await reader
                assert first.close_code == 4504
            ended = 'callboard_requests_total{code="CANCELLED",type="SendMessageRequest"}'
            await service.until(ended, 1)
            what = 'callboard_sessions_changed_total{what="not resumed"}'
            assert await service.metric(what) == 1
            # In the new session, ids and sequence numbers start at 1 again.
            client._queues.clear()
            await client.send(1, **LIST)
            assert (await client.all(1))[0].sequence == 1


async def test_a_sequence_that_was_never_sent_is_a_gap(shared: ServiceProcess) -> None:
    async with shared.connect() as client:
        await client.call(**LIST)
        await client.lose()
        assert not await client.resume(after=2)


async def test_a_foreign_token_finds_nothing_and_hurts_nothing(shared: ServiceProcess) -> None:
    async with shared.connect() as client:
        right = client.welcome.resume_token
        await client.call(**LIST)
        await client.lose()
        for wrong in (b"", b"x", right[:-1], right + b"x", right[:8] + bytes(24), bytes(32)):
            async with shared.connect(resume=message("Resume", resume_token=wrong)) as other:
                assert not other.welcome.resumed
                assert other.welcome.resume_token != right
        assert await client.resume()
        check(client)


async def test_a_right_token_with_a_wrong_startup_token_is_4501(shared: ServiceProcess) -> None:
    async with shared.connect() as client:
        await client.call(**LIST)
        await client.lose()
        resume = message("Resume", resume_token=client.welcome.resume_token, last_sequence=1)
        hello = message("Hello", token="x" * 43, resume=resume)
        async with connect(shared.url, proxy=None) as socket:
            await socket.send(message("ClientMessage", hello=hello).SerializeToString())
            with pytest.raises(ConnectionClosed) as end:
                await socket.recv()
            assert end.value.rcvd is not None
            assert end.value.rcvd.code == 4501
        assert await client.resume()


@pytest.mark.parametrize(
    ("code", "resumed"), [(1000, False), (1001, True), (1011, True), (4000, True), (4500, True)]
)
async def test_1000_from_the_client_ends_the_session_and_no_other_code(
    shared: ServiceProcess, code: int, resumed: bool
) -> None:
    async with shared.connect() as client:
        await client.call(**LIST)
        await client.socket.close(code)
        assert await client.resume() is resumed


async def test_a_violation_ends_the_session(shared: ServiceProcess) -> None:
    async with shared.connect() as client:
        request_id = await client.say(await client.conversation(), "[[ask:question]]")
        await take(client, request_id, 1)
        await client.send(request_id, **LIST)
        assert (await client.all(request_id))[-1].error.code == "CANCELLED"
        await client.socket.wait_closed()
        assert client.socket.close_code == 4500
        assert not await client.resume()


# -- take-over -----------------------------------------------------------------------------------


async def test_nothing_is_handled_that_the_first_socket_still_sends(echo: ServiceProcess) -> None:
    first = RawClient(echo.port, echo.token)
    welcome = await first.connect()
    first.send(1, **LIST)
    await first.frame()
    resume = message("Resume", resume_token=welcome.resume_token, last_sequence=1)
    first.write(b"".join(first.framed(request_id, **LIST) for request_id in range(2, 50)))
    async with echo.connect(resume=resume) as second:
        assert second.welcome.resumed
        last = second.welcome.last_request_id  # the requests that the first connection sent in time
        assert await first.close_code() == 4504
        first.write(b"".join(first.framed(request_id, **LIST) for request_id in range(50, 100)))
        # Higher ids are free: what the first connection sent too late is never answered.
        second._last_id = last
        for request_id in range(2, last + 1):
            await second.all(request_id)
        for _ in range(10):
            await second.call(**LIST)
        answered = sorted(answer.request_id for answer in second.received)
        assert answered == [*range(2, last + 11)]
        taken_over = 'callboard_sessions_changed_total{what="taken over"}'
        assert await echo.metric(taken_over) == 1
    await first.close()


async def test_the_last_of_many_that_take_over_at_once_has_the_session(
    shared: ServiceProcess,
) -> None:
    async with shared.connect() as client:
        request_id = await client.say(await client.conversation(), "[[delay:2]][[repeat:200]]")
        await take(client, request_id, 5)
        after = client.last_sequence
        resume = message("Resume", resume_token=client.welcome.resume_token, last_sequence=after)
        others = [shared.connect(resume=resume) for _ in range(10)]
        welcomed = await asyncio.gather(*(other.__aenter__() for other in others))
        # Whichever Hello came last, one connection has the session and the others are closed.
        closing = {asyncio.create_task(other.socket.wait_closed()): other for other in welcomed}
        while len(closing) > 1:
            done, _ = await asyncio.wait(closing, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                other = closing.pop(task)
                assert other.socket.close_code == 4504
                await other.__aexit__(None, None, None)
        (last,) = closing.values()
        assert kinds_of(await last.all(request_id))[-1] == "completed"
        sequences = [answer.sequence for answer in last.received]
        assert sequences == [*range(after + 1, after + len(sequences) + 1)]
        await last.__aexit__(None, None, None)
        await asyncio.gather(*closing)


# -- away ----------------------------------------------------------------------------------------


async def test_a_buffer_that_fills_while_the_client_is_away_holds_the_stream(
    tmp_path: Path,
) -> None:
    flags = ("--backend", "echo", "--resume-buffer-messages", "50")
    with running(tmp_path, *flags) as service:
        async with service.connect(acknowledges=True, initial_credit=2) as client:
            request_id = await client.say(await client.conversation(), "[[repeat:1000]]")
            await take(client, request_id, 2)
            await client.send(request_id, credit=message("Credit", limit=2000))
            await client.lose()
            await service.until("callboard_sessions_away", 1)
            assert await client.resume()
            answers: list[Any] = []
            while not answers or not answers[-1].end:
                answers += await take(client, request_id, 1)
                if len(answers) % 25 == 0:
                    await client.send(0, ack=message("Ack", sequence=client.last_sequence))
            assert text_of(answers) == NUMBERS[8:]
            check(client)


async def test_a_thousand_sessions_away_at_once(tmp_path: Path) -> None:
    count = 1000
    flags = ("--backend", "echo", "--max-handshakes", "1000")
    with running(tmp_path, *flags) as service:
        slots = asyncio.Semaphore(20)

        async def leave(client: Contract) -> None:
            async with slots:
                await client.__aenter__()
                await client.open(**LIST)
                await client.lose()

        async def come_back(client: Contract) -> None:
            async with slots:
                client.received.clear()
                client.last_sequence = 0
                client._queues.clear()
                assert await client.resume()
                if not client.welcome.last_request_id:  # the request was lost on the way
                    await client.send(1, **LIST)
                await client.all(1)
                check(client)
                await client.__aexit__(None, None, None)

        clients = [service.connect() for _ in range(count)]
        await asyncio.gather(*map(leave, clients))
        await service.until("callboard_sessions_away", count)
        await asyncio.gather(*map(come_back, clients))
        await service.until("callboard_connections", 0)
        assert await service.metric("callboard_sessions_away") == 0
        resumed = 'callboard_sessions_changed_total{what="resumed"}'
        assert await service.metric(resumed) == count


# -- shutdown ------------------------------------------------------------------------------------


async def test_while_it_drains_a_resume_is_served_and_the_next_process_says_no(
    tmp_path: Path,
) -> None:
    flags = ("--backend", "echo", "--drain-ms", "20000")
    with running(tmp_path, *flags) as service:
        async with service.connect() as client:
            request_id = await client.say(await client.conversation(), "[[ask:question]]")
            (asked,) = await take(client, request_id, 1)
            service.signal()
            await client.queue(0).get()
            await client.lose()
            assert await client.resume()
            going = await client.queue(0).get()
            assert going.WhichOneof("payload") == "going_away"
            late = await client.call(**LIST)
            assert late.error.code == "UNAVAILABLE"
            answer = message("AnswerRequest", ask_id=asked.ask.ask_id, answers=["yes"])
            await client.send(request_id, answer=answer)
            assert kinds_of(await client.all(request_id))[-1] == "completed"
            check(client)
            await client.socket.wait_closed()
            assert client.socket.close_code == 4001
            assert await service.wait() == 0
    with running(tmp_path, *flags, CALLBOARD_TOKEN=service.token) as following:
        client.url = following.url
        assert not await client.resume()
        assert client.welcome.last_request_id == 0
        await client.socket.close()
