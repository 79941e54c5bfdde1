"""The test kit of the actors, and a conversation with the echo."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from actors import ActorSystem
from actors.testing import actor_events, actor_system, leak_check, manual_clock
from callboard_service.backends.echo.backend import EchoBackend
from tests.support.conversing import Talk, conversing

__all__ = ["actor_events", "actor_system", "leak_check", "manual_clock", "talk"]


@pytest.fixture
async def talk(actor_system: ActorSystem, tmp_path: Path) -> AsyncIterator[Talk[EchoBackend]]:
    """Return a conversation whose service keeps its files in the test's folder."""
    backend = EchoBackend(pytest.fail, tmp_path / "echo.sqlite3")
    async with conversing(backend, actor_system) as talk:
        yield talk
