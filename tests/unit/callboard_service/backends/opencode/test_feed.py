"""The feed copes with broken event streams and passes each event to the reply it concerns."""

import asyncio
import json
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from actors import ActorSystem, Crashed, Event, Failure
from callboard_service.backends.fields import Table
from callboard_service.backends.opencode import api as api_module
from callboard_service.backends.opencode import hub as hub_module
from callboard_service.backends.opencode.api import Address, Api
from callboard_service.backends.opencode.feed import FEED, Feed, decode
from callboard_service.backends.opencode.hub import Hub, ReplyEvents, Stream
from tests.unit.callboard_service.backends.opencode.odd_server import answering, stream

CONNECTED = b'data: {"type":"server.connected","properties":{}}\n\n'
HELLO = {"type": "session.idle", "properties": {"sessionID": "ses_1"}}


def line(event: Table) -> bytes:
    return b"data: " + json.dumps(event).encode() + b"\n\n"


@asynccontextmanager
async def feeding(
    *connections: Callable[[web.StreamResponse], Awaitable[None]],
) -> AsyncIterator[tuple[ReplyEvents, list[Event]]]:
    """Run a feed; yield its events for one reply, and the events of its actor system.

    connections: serve one connection each, in order; the last serves all further ones.
    """
    served = 0
    reports: list[Event] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal served
        served += 1
        response = await stream(request)
        await response.write(CONNECTED)
        await connections[min(served, len(connections)) - 1](response)
        return response

    async with answering(answer) as url:
        system = ActorSystem(observer=reports.append)
        api = Api(Address(url))
        hub = Hub(lambda name: None)
        try:
            with hub.listening("ses_1") as inbox:
                await system.start(lambda: Feed(api, hub), name="feed", lifecycle=FEED)
                yield inbox, reports
        finally:
            await system.stop()
            await api.close()


async def for_ever(response: web.StreamResponse) -> None:
    await asyncio.Event().wait()


async def hello(response: web.StreamResponse) -> None:
    await response.write(line(HELLO))
    await asyncio.Event().wait()


async def taken(inbox: ReplyEvents, count: int) -> list[object]:
    async with asyncio.timeout(10):
        return [await inbox.take() for _ in range(count)]


def reasons(reports: list[Event]) -> list[str]:
    return [str(report.error) for report in reports if isinstance(report, Crashed)]


async def test_a_stream_that_ends_is_opened_again_and_the_replies_know() -> None:
    async def half_a_line(response: web.StreamResponse) -> None:
        await response.write(line(HELLO) + b'data: {"type":"session.id')

    async with feeding(half_a_line, hello) as (inbox, reports):
        assert await taken(inbox, 5) == [Stream.BACK, HELLO, Stream.LOST, Stream.BACK, HELLO]
    assert reasons(reports) == ["the event stream ended"]


async def test_a_line_of_ten_megabytes_is_dropped_in_bounded_memory() -> None:
    async def long(response: web.StreamResponse) -> None:
        await response.write(b"data: ")
        for _ in range(160):
            await response.write(b"x" * 65536)
        await response.write(b"\n\n")

    tracemalloc.start()
    try:
        async with feeding(long, hello) as (inbox, reports):
            assert await taken(inbox, 4) == [Stream.BACK, Stream.LOST, Stream.BACK, HELLO]
        assert tracemalloc.get_traced_memory()[1] < 9 * 1024 * 1024
    finally:
        tracemalloc.stop()
    assert "more than 4194304 bytes" in reasons(reports)[0]


async def test_silence_breaks_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_module, "SILENCE", 0.5)
    async with feeding(for_ever, hello) as (inbox, reports):
        assert await taken(inbox, 4) == [Stream.BACK, Stream.LOST, Stream.BACK, HELLO]
    assert reasons(reports)[0] == "the OpenCode server does not answer"


async def test_what_is_no_event_is_passed_over() -> None:
    async def odd(response: web.StreamResponse) -> None:
        for data in (
            b"",
            b"no json",
            b"[1]",
            b'{"type":5}',
            b'{"type":"plugin.added"}',
            b"[" * 9999,
        ):
            await response.write(b"data: " + data + b"\n\n")
        await hello(response)

    async with feeding(odd) as (inbox, reports):
        assert await taken(inbox, 2) == [Stream.BACK, HELLO]
    assert reasons(reports) == []
    assert decode("[" * 100_000) == {}


async def test_what_is_not_taken_is_bounded_and_ends_the_reply(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stopped: list[str] = []
    hub = Hub(stopped.append)
    for limit, value, size in (("MAX_EVENTS", 3, 0), ("MAX_BYTES", 300, 100)):
        monkeypatch.setattr(hub_module, limit, value)
        with hub.listening("ses_1") as inbox:
            for _ in range(3):
                hub.route(HELLO, size)
            assert stopped == []
            assert await inbox.take() == HELLO
            hub.route(HELLO, size)
            assert stopped == []
            hub.route(HELLO, size)
            assert stopped == ["ses_1"]
            with pytest.raises(Failure, match="RESOURCE_EXHAUSTED"):
                await inbox.take()
        stopped.clear()
        monkeypatch.undo()


async def test_events_go_to_the_reply_that_they_are_about() -> None:
    hub = Hub(lambda name: None)

    def event(kind: str, session: str, **fields: object) -> Table:
        return {"type": kind, "properties": {"sessionID": session, **fields}}

    child = event("session.created", "ses_child", info={"parentID": "ses_1"})
    grandchild = event("session.created", "ses_grand", info={"parentID": "ses_child"})
    with hub.listening("ses_1") as one, hub.listening("ses_2") as two:
        hub.route(event("session.idle", "ses_2"), 1)
        hub.route(event("session.idle", "ses_unknown"), 1)
        hub.route(child, 1)
        hub.route(grandchild, 1)
        hub.route(event("session.idle", "ses_child"), 1)
        hub.route(event("question.asked", "ses_grand"), 1)
        hub.route(event("question.asked", "ses_stranger"), 1)
        hub.back()
        assert await taken(two, 2) == [event("session.idle", "ses_2"), Stream.BACK]
        question = event("question.asked", "ses_grand")
        assert await taken(one, 4) == [child, grandchild, question, Stream.BACK]
