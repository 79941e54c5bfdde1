"""A chat backend whose replies a test writes, and the chat's actor types on it."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import TypeAlias

from actors import Burst, Failure, Registry
from actors.testing import LogLines
from callboard.v1.chat_pb2 import SteerEvent
from callboard_service.backends.base import Health, Prompt, ReplyEvent
from callboard_service.backends.stored import StoredConversations
from callboard_service.chat import chat

Script: TypeAlias = Callable[[Prompt], AsyncGenerator[ReplyEvent | Burst[ReplyEvent], None]]


class ScriptedBackend(StoredConversations):
    """Replies as the test's generator does; keeps the conversations in SQLite."""

    name = "scripted"
    features: Collection[str] = ("fork", "search", "steer")

    def __init__(self, script: Script, *, resumes: bool = False) -> None:
        super().__init__(":memory:", lambda line: None)
        self.script = script
        self.resumes = resumes
        self.prompts: list[Prompt] = []
        self.handed: list[SteerEvent] = []
        """The messages that were handed to a running reply."""
        self.refusal: Failure | None = None
        """Why it takes no messages; None: it takes them."""

    def spec(self) -> None:
        """Return None: replies need no actor."""

    def health(self) -> Health:
        """Return that it is ready."""
        return Health(ready=True, detail="")

    def reply(self, prompt: Prompt) -> AsyncGenerator[ReplyEvent | Burst[ReplyEvent], None]:
        """Return the test's generator."""
        self.prompts.append(prompt)
        return self.script(prompt)

    def watch(self, changed: Callable[[str], None]) -> None:
        """Keep `changed` for the test."""
        self.changed = changed

    async def steer(self, conversation_id: str, turn_id: str, message: SteerEvent) -> None:
        """Take a message for the running reply, unless the test refuses it."""
        if self.refusal is not None:
            raise self.refusal
        self.handed.append(message)

    def register(self, registry: Registry) -> None:
        """Register the chat's actor types."""
        chat.register(registry, self, LogLines())

    @asynccontextmanager
    async def opened(self) -> AsyncIterator["ScriptedBackend"]:
        """Open the store for the duration of the block."""
        await self.open()
        try:
            yield self
        finally:
            await self.close()
