"""A conversation with the backend over real HTTP."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from actors import Failure
from callboard.v1.chat_pb2 import AnswerRequest, ChatToken
from callboard_service.backends.base import Prompt
from callboard_service.backends.openai.api import (
    CONNECTIONS,
    DEFAULT_TIMEOUTS,
    ModelServer,
    OpenAITimeouts,
)
from callboard_service.backends.openai.backend import OpenAIBackend
from callboard_service.log import make_log

KEY = "sk-s3cr3t"
LOG = make_log("error")


class Talk:
    """A backend with one conversation."""

    def __init__(self, backend: OpenAIBackend, conversation: str, pauses: list[float]) -> None:
        self.backend = backend
        self.conversation = conversation
        self.pauses = pauses

    def reply(self, text: str = "hi", model: str = "", session: str = "") -> Any:
        async def answered() -> AnswerRequest:
            raise AssertionError("nobody asked")

        prompt = Prompt(self.conversation, text, model, answered, LOG, session)
        return self.backend.reply(prompt)

    async def all(self, text: str = "hi", model: str = "") -> list[Any]:
        return [event async for event in self.reply(text, model)]

    async def failure(self, text: str = "hi", model: str = "") -> tuple[Failure, list[Any]]:
        events: list[Any] = []
        with pytest.raises(Failure) as caught:
            async for event in self.reply(text, model):
                events.append(event)  # noqa: PERF401 - keeps the events if it raises
        return caught.value, events

    async def kept(self) -> list[str]:
        history = await self.backend.history(self.conversation, 0, "")
        return [
            f"! {entry.error.code}"
            if entry.HasField("error")
            else entry.user_text or f"> {entry.assistant_text}"
            for entry in history.entries
        ]


@contextlib.asynccontextmanager
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
    await backend.open()
    await backend.connect()
    try:
        conversation = await backend.create("")
        yield Talk(backend, conversation.id, pauses)
    finally:
        await backend.disconnect()
        await backend.close()


def text_of(events: list[Any]) -> str:
    return "".join(event.text for event in events if isinstance(event, ChatToken))
