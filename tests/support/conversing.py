"""Conversations over a backend as the service runs them: the store, the actors, one client."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, Generic, TypeVar, get_args
from uuid import uuid4

import pytest

from actors import ActorSystem, Burst, Failure, PushSource
from actors.testing import Answers, Calls, serving
from callboard.v1.chat_pb2 import (
    AnswerRequest,
    Attachment,
    ChatToken,
    HistoryEntry,
    SendMessageRequest,
)
from callboard_service.backends.base import ChatBackend, Prompt, ReplyEvent
from callboard_service.chat import chat
from callboard_service.chat.attaching import DEFAULT_QUOTA
from callboard_service.chat.listing import FOLLOW
from callboard_service.log import make_log
from callboard_service.store.kept_turns import NewTurn
from tests.support.pushed import pulled

B = TypeVar("B", bound=ChatBackend)

LOG = make_log("error")

SESSION = "test"
"""The session of a Talk's client, as `serving` names it."""


class Talk(Generic[B]):
    """A client's conversation with a backend. `system` runs the store and the conversation."""

    def __init__(self, backend: B, system: ActorSystem, calls: Calls, conversation: str) -> None:
        self.backend = backend
        self.system = system
        self.calls = calls
        self.conversation = conversation

    async def renew(self) -> None:
        """Go on in a new conversation."""
        self.conversation = (await self.backend.create("")).id

    def send(
        self, text: str = "hi", model: str = "", attachments: Sequence[Attachment] = ()
    ) -> Answers[ReplyEvent]:
        """Send a message; return the events of its turn, which are pulled one at a time."""
        request = SendMessageRequest(
            session_id=self.conversation, text=text, model=model, attachments=attachments
        )
        return self.calls.stream(request, *get_args(ReplyEvent))

    async def all(
        self, text: str = "hi", model: str = "", attachments: Sequence[Attachment] = ()
    ) -> list[Any]:
        """Send a message and return the events of its turn. Raises the Failure that ends it."""
        return [event async for event in self.send(text, model, attachments)]

    async def failure(
        self, text: str = "hi", model: str = "", attachments: Sequence[Attachment] = ()
    ) -> tuple[Failure, list[Any]]:
        """Send a message whose turn fails; return the failure and the events before it."""
        return await failure_of(self.send(text, model, attachments))

    async def idle(self) -> None:
        """Wait until no turn is open: a cancelled request ends before its turn does."""
        async with asyncio.timeout(10):
            while await self.backend.journal.open_turns(self.conversation):
                pass

    async def entries(self) -> list[HistoryEntry]:
        """Return the history."""
        return list((await self.backend.history(self.conversation, 0, "")).entries)

    async def kept(self) -> list[str]:
        """Return the history, a line for each entry."""
        return [line_of(entry) for entry in await self.entries()]


def line_of(entry: HistoryEntry) -> str:
    """Return "TEXT" of a user, "> TEXT" of a model, "~ TEXT" of its thoughts, or "! CODE"."""
    match entry.WhichOneof("entry"):
        case "user_text":
            return entry.user_text
        case "assistant_text":
            return f"> {entry.assistant_text}"
        case "reasoning_text":
            return f"~ {entry.reasoning_text}"
        case "error":
            return f"! {entry.error.code}"
        case kind:
            return f"{kind}"


def text_of(events: Sequence[object]) -> str:
    """Return the text of the tokens among the events."""
    return "".join(event.text for event in events if isinstance(event, ChatToken))


async def failure_of(events: AsyncIterator[object]) -> tuple[Failure, list[Any]]:
    """Return the failure that a reply ends with, and the events before it."""
    before: list[Any] = []
    with pytest.raises(Failure) as caught:
        async for event in events:
            before.append(event)  # noqa: PERF401 - keeps the events if it raises
    return caught.value, before


@asynccontextmanager
async def conversing(
    backend: B, system: ActorSystem | None = None, *, quota: int = DEFAULT_QUOTA
) -> AsyncIterator[Talk[B]]:
    """Open the backend's store and yield a conversation; what makes replies is not started.

    system: where the actors run; None: one of its own, on the event loop's clock. quota: the bytes
    that attachments may take.
    """
    running = ActorSystem() if system is None else system
    store = backend.store_spec()
    assert store is not None
    keeper = await running.start(store.factory, name="store")
    try:
        async with serving(
            running,
            lambda registry: chat.register(registry, backend, LOG, attachment_quota=quota),
            features=[FOLLOW],
        ) as calls:
            yield Talk(backend, running, calls, (await backend.create("")).id)
    finally:
        keeper.stop()
        await keeper.join()
        if system is None:
            await running.stop()


async def reply_alone(
    backend: ChatBackend,
    text: str = "hi",
    *,
    model: str = "",
    session: str = "",
    conversation: str = "",
) -> AsyncGenerator[ReplyEvent, None]:
    """Yield the backend's own reply to a message of this session, as it is pulled.

    The message is admitted as a conversation does it; nothing else is stored. conversation: empty:
    a new one.
    """
    conversation = conversation or (await backend.create("")).id
    turn = NewTurn(id=uuid4().hex, text=text, starts=True)
    await backend.journal.admit(conversation, turn)

    async def answered() -> AnswerRequest:
        raise AssertionError("nobody asked")

    prompt = Prompt(conversation, text, model, answered, session, turn.id)
    async with aclosing(backend.reply(prompt)) as events:
        async for event in events:
            if isinstance(event, PushSource):
                async for item in pulled(event):
                    for single in item.answers if isinstance(item, Burst) else [item]:
                        yield single
                continue
            assert not isinstance(event, Burst)
            yield event
