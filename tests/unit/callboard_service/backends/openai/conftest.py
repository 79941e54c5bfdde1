from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.openai.scripted_server import ScriptedServer, scripted
from tests.support.openai.talk import Talk, talking


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with scripted() as server:
        yield server


@pytest.fixture
async def talk(server: ScriptedServer, tmp_path: Path) -> AsyncIterator[Talk]:
    async with talking(tmp_path, server.url) as talk:
        yield talk
