"""A reply that went on while no service was there, or did not: its message is posted once."""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from actors import ActorSystem, Code, Failure
from callboard.v1.chat_pb2 import AnswerRequest, ChatCompleted
from callboard_service.backends.base import Prompt, ReplyEvent
from callboard_service.backends.opencode.api import Address
from callboard_service.backends.opencode.backend import OpenCodeBackend
from callboard_service.backends.opencode.marks import message_id_of
from callboard_service.backends.opencode.where import Attached
from callboard_service.log import make_log
from tests.support.conversing import text_of
from tests.unit.callboard_service.backends.opencode.events import SESSION
from tests.unit.callboard_service.backends.opencode.odd_server import answering, stream

TURN = "0123456789abcdef" * 2
MESSAGE = message_id_of(TURN)


class Server:
    """An OpenCode server with these messages in one session, on which nothing runs."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self._messages = messages
        self.posted: list[str] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a request; note those that post a message."""
        if request.path == "/event":
            response = await stream(request)
            await response.write(b'data: {"type":"server.connected"}\n\n')
            await asyncio.Event().wait()
            return response
        if request.path.endswith("/prompt_async"):
            self.posted.append(request.path)
            raise web.HTTPBadRequest
        kind = request.path.rsplit("/", 1)[-1]
        lists = {"message": list(self._messages), "children": [], "permission": [], "question": []}
        found = {"healthy": True, "version": "1.18.33", "directory": "/p", "id": SESSION}
        if kind in lists:
            return web.json_response(lists[kind])
        if kind == MESSAGE and not self._messages:
            raise web.HTTPNotFound
        return web.json_response({} if kind == "status" else found)


async def unanswered() -> AnswerRequest:
    raise AssertionError("nothing is asked here")


async def reply_of(server: Server, *, resumed: bool) -> list[ReplyEvent]:
    """Return the turn's reply, for which nothing is posted to this server. Raises Failure."""
    system, log = ActorSystem(), make_log("error")
    async with answering(server.answer) as url:
        backend = OpenCodeBackend(Attached(Address(url), "/p"), log)
        try:
            await system.start(backend.spec().factory)
            prompt = Prompt(SESSION, "hi", "", unanswered, turn_id=TURN, resumed=resumed)
            return [event async for event in backend.reply(prompt)]
        finally:
            await system.stop()
            assert server.posted == []


def message(message_id: str, role: str, text: str, **info: Any) -> dict[str, Any]:
    part = {"id": f"prt_{message_id}", "messageID": message_id, "type": "text", "text": text}
    part["time"] = {"start": 1, "end": 2}  # type: ignore[assignment]  # a part has other kinds
    return {"info": {"id": message_id, "role": role, **info}, "parts": [part]}


@pytest.mark.parametrize("resumed", [True, False])
async def test_a_message_that_the_server_has_is_not_posted_again(resumed: bool) -> None:
    """Its reply ended while no service was there, and is complete."""
    server = Server(
        message(MESSAGE, "user", "hi", time={"created": 100}),
        message(
            "msg_reply",
            "assistant",
            "one two",
            parentID=MESSAGE,
            time={"created": 101, "completed": 102},
            finish="stop",
        ),
    )
    events = await reply_of(server, resumed=resumed)
    assert text_of(events) == "one two"
    assert isinstance(events[-1], ChatCompleted)


async def test_a_message_that_never_reached_the_server_is_not_posted_later() -> None:
    """Nobody expects the reply any more: the turn is interrupted."""
    server = Server()
    with pytest.raises(Failure) as caught:
        await reply_of(server, resumed=True)
    assert caught.value.code is Code.ABORTED
