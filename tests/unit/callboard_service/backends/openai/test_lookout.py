"""A server that was away is found ready once it is back, even if no message is sent to it."""

from pathlib import Path

from actors.testing import ManualClock, running_system
from callboard_service.backends.openai.api import ModelServer
from callboard_service.backends.openai.backend import OpenAIBackend
from callboard_service.backends.openai.lookout import LOOK_AGAIN
from tests.support.conversing import LOG
from tests.support.openai.scripted_server import refusing, scripted


class Watched(OpenAIBackend):
    """Counts how often it has looked at the server."""

    looks = 0

    async def look_again(self) -> None:
        await super().look_again()
        self.looks += 1


async def test_a_server_that_was_away_is_found_ready_without_a_message(tmp_path: Path) -> None:
    clock = ManualClock()
    async with scripted() as server, running_system(clock) as system:
        listing, server.models = server.models, refusing(503)
        backend = Watched(ModelServer(server.url, "", ""), tmp_path, LOG, print)
        await backend.open()
        try:
            await system.start(backend.spec().factory)
            assert not backend.health().ready
            assert not server.chats
            server.models = listing
            await clock.advance(LOOK_AGAIN)
            while not backend.looks:
                await clock.advance(0.0)
            assert backend.health().ready
        finally:
            await system.stop()
            await backend.close()
