"""A conversation with the backend over real HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from callboard_service.backends.openai.api import (
    CONNECTIONS,
    DEFAULT_TIMEOUTS,
    ModelServer,
    OpenAITimeouts,
)
from callboard_service.backends.openai.backend import OpenAIBackend
from tests.support import conversing
from tests.support.conversing import LOG

KEY = "sk-s3cr3t"


class Talk(conversing.Talk[OpenAIBackend]):
    """A conversation, and the pauses that the backend has made so far, in seconds."""

    def __init__(self, made: conversing.Talk[OpenAIBackend], pauses: list[float]) -> None:
        super().__init__(made.backend, made.system, made.calls, made.conversation)
        self.pauses = pauses


@asynccontextmanager
async def talking(
    folder: Path,
    url: str,
    *,
    key: str = KEY,
    model: str = "",
    patience: OpenAITimeouts = DEFAULT_TIMEOUTS,
    connections: int = CONNECTIONS,
) -> AsyncIterator[Talk]:
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    backend = OpenAIBackend(
        ModelServer(url, key, model),
        folder,
        LOG,
        pytest.fail,
        patience=patience,
        pause=pause,
        connections=connections,
    )
    await backend.connect()
    try:
        async with conversing.conversing(backend) as made:
            yield Talk(made, pauses)
    finally:
        await backend.disconnect()
