"""Credit end to end: the service reads little more from the model server than was granted."""

from pathlib import Path

import pytest
from aiohttp import ClientResponse

from callboard_service.backends.batches import LARGEST
from callboard_service.backends.openai import api
from callboard_service.backends.openai.answer import Answer
from callboard_service.backends.openai.refusals import Refusals
from tests.e2e.contract_client import message
from tests.e2e.watched_service import watching
from tests.support.openai.scripted_server import Exchange, scripted

GRANTED = 10
AHEAD = 2 * LARGEST + 16
"""One batch is being sent, one waits, and a few chunks say nothing."""


async def test_ten_answers_granted_are_ten_taken_from_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    responses: list[ClientResponse] = []
    made: list[Answer] = []

    class Recorded(Answer):
        def __init__(self, response: ClientResponse, refusals: Refusals) -> None:
            super().__init__(response, refusals)
            responses.append(response)
            made.append(self)

    async def flood(exchange: Exchange) -> None:
        await exchange.begin()
        while exchange.sent < 64 * 1024 * 1024:
            await exchange.delta(content="x" * 100)

    monkeypatch.setattr(api, "Answer", Recorded)
    async with scripted() as server:
        server.will(flood)
        settings = {"backend": "openai", "openai_base_url": server.url, "openai_model": "small"}
        async with (
            watching(tmp_path, monkeypatch, **settings) as service,
            service.connect(initial_credit=GRANTED) as client,
        ):
            request_id = await client.say(await client.conversation(), "hi")
            for grant in (GRANTED, 2 * GRANTED, 5 * GRANTED):
                await client.send(request_id, credit=message("Credit", limit=grant))
                while client.last_sequence < grant + 1:  # one answer was to create_session
                    await client.queue(request_id).get()
                for nonce in range(50):  # time in which it could read too much
                    await client.send(0, ping=message("Ping", nonce=nonce))
                    await client.queue(0).get()
                assert client.last_sequence == grant + 1
                assert grant <= made[0].parsed <= grant + AHEAD
                unparsed = made[0].buffered + responses[0].content.total_raw_bytes
                held = made[0].buffered + buffered(responses[0])
                assert unparsed > 0
                assert held < 64 * 1024
            await client.send(request_id, cancel=message("CancelRequest"))
            assert (await client.all(request_id))[-1].error.code == "CANCELLED"
            await server.chats[0].gone.wait()


def buffered(response: ClientResponse) -> int:
    """Count the bytes that aiohttp buffers of this response."""
    return sum(map(len, response.content._buffer))
