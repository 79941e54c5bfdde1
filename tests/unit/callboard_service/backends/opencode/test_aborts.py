"""A reply that nobody waits for is stopped, and what it was handed and has not used is deleted."""

import pytest
from aiohttp import web

from actors import ActorSystem
from callboard_service.backends.opencode import retries
from callboard_service.backends.opencode.aborts import AbortReply, Aborts, Quiet
from callboard_service.backends.opencode.api import Address, Api
from callboard_service.log import make_log
from tests.unit.callboard_service.backends.opencode.events import SESSION
from tests.unit.callboard_service.backends.opencode.odd_server import answering


async def test_what_is_left_is_deleted_once_the_reply_has_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next reply waits for that. The server refuses at first: it is still busy."""
    monkeypatch.setattr(retries, "_PAUSE", 0.0)
    requests: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        requests.append(f"{request.method} {request.path.removeprefix(f'/session/{SESSION}/')}")
        refused = request.method == "DELETE" and requests.count(requests[-1]) == 1
        return web.json_response({}, status=409 if refused else 200)

    system = ActorSystem()
    async with answering(answer) as url:
        api = Api(Address(url))
        try:
            aborts = await system.start(lambda: Aborts(api, make_log("error")))
            aborts.tell(AbortReply(SESSION, True, ("msg_1", "msg_2")))
            await aborts.ask(lambda reply: Quiet(SESSION, reply), timeout=20)
        finally:
            await system.stop()
            await api.close()
    deleted = [f"DELETE message/{name}" for name in ("msg_1", "msg_1", "msg_2", "msg_2")]
    assert requests == ["POST abort", *deleted]
