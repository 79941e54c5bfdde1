"""A message that is handed to a reply is posted once, and taken back if nothing uses it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from actors import Code, Failure
from callboard.v1.chat_pb2 import SteerEvent
from callboard_service.backends.opencode import retries, steering
from callboard_service.backends.opencode.api import Address, Api
from callboard_service.backends.opencode.handed import Handed
from callboard_service.backends.opencode.steering import Steering
from callboard_service.log import make_log
from tests.unit.callboard_service.backends.opencode.events import SESSION
from tests.unit.callboard_service.backends.opencode.odd_server import answering

TURN = "0123456789abcdef" * 2
MESSAGE = SteerEvent(message_id="n", text="words")


class Server:
    """Keeps messages. accepts: it answers what is posted. keeps: it has it then."""

    def __init__(self) -> None:
        self.posted: list[dict[str, Any]] = []
        self.there: set[str] = set()
        self.accepts = self.keeps = True
        self.busy = 0
        self.arrived, self.go_on = asyncio.Event(), asyncio.Event()
        self.go_on.set()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        message_id = request.path.rsplit("/", 1)[-1]
        if request.method == "POST":
            body = await request.json()
            self.posted.append(body)
            self.arrived.set()
            await self.go_on.wait()
            if self.keeps:
                self.there.add(body["messageID"])
            return web.json_response({}, status=200 if self.accepts else 500)
        if request.method == "DELETE" and self.busy:
            self.busy -= 1
            return web.json_response({}, status=409)
        if request.method == "DELETE":
            self.there.discard(message_id)
        return web.json_response({}, status=200 if message_id in self.there else 404)


async def no_file(attachment_id: str) -> bytes:
    raise AssertionError(attachment_id)


@asynccontextmanager
async def steering_at(server: Server, *, begun: bool = True) -> AsyncIterator[Steering]:
    async with answering(server.answer) as url:
        api = Api(Address(url))
        handed = Handed(TURN)
        if begun:
            handed.begin({"agent": "build"})
        try:
            yield Steering(api, SESSION, handed, make_log("error"), no_file)
        finally:
            await api.close()


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "_PAUSE", 0.0)


async def test_a_message_is_added_and_starts_nothing() -> None:
    server = Server()
    async with steering_at(server) as steering:
        await steering.hand(MESSAGE)
        (body,) = server.posted
        assert steering.handed.unused() == (body["messageID"],)
    assert (body["noReply"], body["agent"]) == (True, "build")
    (part,) = body["parts"]
    assert part["text"] == "words"
    assert part["metadata"] == {"callboard": {"turn": TURN, "handed": "n"}}


@pytest.mark.parametrize("busy", [0, 1, 2])
async def test_an_unused_message_is_deleted_and_a_used_one_is_not(busy: int) -> None:
    """The server refuses for a moment after it has reported the end of the reply."""
    server = Server()
    async with steering_at(server) as steering:
        await steering.hand(MESSAGE)
        (used,) = server.there
        await steering.hand(SteerEvent(message_id="o", text="others"))
        steering.handed.used_by(used)
        server.busy = busy
        await steering.take_back()
    assert server.there == {used}


async def test_a_message_that_arrives_after_the_end_is_deleted_again() -> None:
    """Whoever handed it over is told so only by its turn."""
    server = Server()
    server.go_on.clear()
    async with steering_at(server) as steering:
        handing = asyncio.create_task(steering.hand(MESSAGE))
        await server.arrived.wait()
        await steering.take_back()
        server.go_on.set()
        await handing
    assert server.there == set()
    assert len(server.posted) == 1


async def test_a_message_of_a_lost_answer_counts_if_the_server_has_it() -> None:
    server = Server()
    server.accepts = False
    async with steering_at(server) as steering:
        await steering.hand(MESSAGE)
        assert steering.handed.unused()


async def test_a_message_that_the_server_refuses_is_refused() -> None:
    """In case it comes to be there after all, it is deleted with the unused ones."""
    server = Server()
    server.accepts = server.keeps = False
    async with steering_at(server) as steering:
        with pytest.raises(Failure) as caught:
            await steering.hand(MESSAGE)
        assert caught.value.code is Code.UNAVAILABLE
        server.there.add(server.posted[0]["messageID"])
        await steering.take_back()
    assert server.there == set()


async def test_a_message_waits_for_the_turn_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would come before it. A reply that does not begin takes none."""
    server = Server()
    async with steering_at(server, begun=False) as steering_:
        handing = asyncio.create_task(steering_.hand(MESSAGE))
        await asyncio.sleep(0)
        steering_.handed.begin({"agent": "of the turn"})
        await handing
        assert [body["agent"] for body in server.posted] == ["of the turn"]
    monkeypatch.setattr(steering, "BEGIN_WAIT", 0.0)
    async with steering_at(server, begun=False) as steering_:
        with pytest.raises(Failure) as caught:
            await steering_.hand(MESSAGE)
    assert caught.value.code is Code.FAILED_PRECONDITION
    assert len(server.posted) == 1


async def test_a_server_that_is_away_does_not_fail_the_end_of_a_reply() -> None:
    """What stays there is logged."""
    server = Server()
    async with steering_at(server) as steering:
        await steering.hand(MESSAGE)
        server.busy = 1000
        await steering.take_back()
    assert len(server.there) == 1
