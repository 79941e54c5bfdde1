"""A turn's message is found on the server, however long the reply is by now."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from callboard_service.backends.fields import table, text
from callboard_service.backends.opencode.api import Address, Api
from callboard_service.backends.opencode.begun import look_for, messages_of
from callboard_service.backends.opencode.marks import handed_id_of, message_id_of
from tests.unit.callboard_service.backends.opencode.odd_server import answering

TURN = "0123456789abcdef" * 2


def said(message_id: str, created: int = 1) -> dict[str, Any]:
    return {"info": {"id": message_id, "role": "user", "time": {"created": created}}, "parts": []}


@asynccontextmanager
async def having(*messages: dict[str, Any]) -> AsyncIterator[Api]:
    """Run a server with these messages, which answers in pages."""
    ids = [message["info"]["id"] for message in messages]

    async def answer(request: web.Request) -> web.StreamResponse:
        if not request.path.endswith("/message"):
            there = request.path.rsplit("/", 1)[-1] in ids
            return web.json_response({}, status=200 if there else 404)
        end = int(request.query.get("before", len(messages)))
        begin = max(end - int(request.query["limit"]), 0)
        headers = {"x-next-cursor": str(begin)} if begin else {}
        return web.json_response(messages[begin:end], headers=headers)

    async with answering(answer) as url:
        api = Api(Address(url))
        try:
            yield api
        finally:
            await api.close()


def ids_of(messages: Any) -> list[str]:
    return [text(table(message, "info"), "id") for message in messages]


@pytest.mark.parametrize("later", [0, 3, 49, 50, 120])
@pytest.mark.parametrize("earlier", [0, 1, 60])
async def test_everything_since_the_message_is_returned(earlier: int, later: int) -> None:
    """At least one message before it is known, if there is one."""
    old, new = [f"old{n}" for n in range(earlier)], [f"new{n}" for n in range(later)]
    mine = message_id_of(TURN)
    async with having(*map(said, [*old, mine, *new])) as api:
        begun = await look_for(api, "ses_1", mine, far=True)
    assert ids_of(begun.since) == [mine, *new]
    assert begun.before.message_ids <= set(old)
    assert bool(begun.before.message_ids) == bool(old)


async def test_a_message_that_is_not_there_is_looked_for_on_one_page() -> None:
    """What is there is the baseline of the reply that has yet to begin."""
    async with having(*(said(f"m{n}", 100 + n) for n in range(70))) as api:
        for far in (False, True):
            begun = await look_for(api, "ses_1", message_id_of(TURN), far=far)
            assert not begun.since
            assert len(begun.before.message_ids) == 50
            assert begun.before.oldest == 120
        nothing = await look_for(api, "ses_1", "", far=False)
    assert len(nothing.before.message_ids) == 50


def replied(message_id: str, parent: str) -> dict[str, Any]:
    return {"info": {"id": message_id, "role": "assistant", "parentID": parent}, "parts": []}


def marked(message_id: str) -> dict[str, Any]:
    """Return a message of the turn in a copy of its conversation."""
    part = {"type": "text", "metadata": {"callboard": {"turn": TURN}}}
    return {"info": {"id": message_id, "role": "user"}, "parts": [part]}


@pytest.mark.parametrize("copied", [False, True])
async def test_all_messages_of_a_turn_are_found(copied: bool) -> None:
    """Those that were handed to it and the replies to these, too; nothing of other turns."""
    mine, handed = message_id_of(TURN), handed_id_of(TURN, "name", 0)
    own = marked("copy") if copied else said(mine)
    mine = "copy" if copied else mine
    async with having(
        said("old"),
        replied("r1", "old"),
        own,
        *(replied(f"r2-{n}", mine) for n in range(60)),
        said(handed),
        replied("r3", handed),
        said("new"),
        replied("r4", "new"),
    ) as api:
        found = await messages_of(api, "ses_1", TURN, copied=copied)
    assert found == ["r3", handed, *(f"r2-{n}" for n in reversed(range(60))), mine]


@pytest.mark.parametrize("copied", [False, True])
async def test_a_turn_that_the_server_does_not_have_has_no_messages(copied: bool) -> None:
    """Its message may never have reached the server."""
    async with having(*(said(f"m{n}") for n in range(70))) as api:
        assert await messages_of(api, "ses_1", TURN, copied=copied) == []


async def test_what_an_earlier_reply_has_left_is_found_at_the_end() -> None:
    """What it has used is not left, nor is anything of a turn that has begun."""
    used, left, more = (handed_id_of(TURN, "name", n) for n in range(3))
    mine = message_id_of(TURN)
    messages = (said(mine), said(used), replied("r1", used), said(left), said(more))
    async with having(*messages) as api:
        new = await look_for(api, "ses_1", message_id_of("f" * 32), far=False)
        begun = await look_for(api, "ses_1", mine, far=False)
    assert list(new.leftovers) == [more, left]
    assert not begun.leftovers
