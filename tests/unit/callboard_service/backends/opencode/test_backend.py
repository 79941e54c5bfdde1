"""The backend stops a reply that nobody hears any more, even before it has heard of it."""

import asyncio

from aiohttp import web

from actors import ActorSystem
from callboard.v1.chat_pb2 import AnswerRequest
from callboard_service.backends.base import Prompt
from callboard_service.backends.opencode.api import Address
from callboard_service.backends.opencode.backend import OpenCodeBackend
from callboard_service.backends.opencode.where import Attached
from callboard_service.log import make_log
from tests.unit.callboard_service.backends.opencode.events import SESSION
from tests.unit.callboard_service.backends.opencode.odd_server import answering, stream


async def unanswered() -> AnswerRequest:
    raise AssertionError("nothing is asked here")


async def test_a_resumed_reply_that_is_stopped_early_is_stopped_at_the_server() -> None:
    """It may be running there, although the event stream has not come yet."""
    listening, asked, aborted = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/event":
            response = await stream(request)
            listening.set()
            await asyncio.Event().wait()
            return response
        if request.path == f"/session/{SESSION}":
            asked.set()
        if request.path.endswith("/abort"):
            aborted.set()
        found = {"healthy": True, "version": "1.18.33", "directory": "/p", "id": SESSION}
        return web.json_response(found)

    system = ActorSystem()
    async with answering(answer) as url:
        backend = OpenCodeBackend(Attached(Address(url), "/p"), make_log("error"))
        try:
            await system.start(backend.spec().factory)
            prompt = Prompt(SESSION, "hi", "", unanswered, resumed=True)
            reply = asyncio.create_task(anext(backend.reply(prompt)))
            async with asyncio.timeout(20):
                await listening.wait()
                await asked.wait()
                reply.cancel()
                await asyncio.wait([reply])
                await aborted.wait()
        finally:
            await system.stop()
