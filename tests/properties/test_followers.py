"""Clients that join a turn at any moment, and are cut off at any moment, end with the same text."""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from random import Random
from typing import Any

import pytest

from actors import ActorSystem, Failure, Registry
from actors.requests.background import Extensions
from callboard.v1.chat_pb2 import (
    AnswerRequest,
    ChatCompleted,
    ChatNotice,
    ChatToken,
    ConversationEvent,
    FollowSessionRequest,
    SendMessageRequest,
)
from callboard_service.chat import chat
from callboard_service.chat import log as chat_log
from callboard_service.chat.conversation import Conversation
from callboard_service.chat.following import FollowSession
from callboard_service.chat.messages import Answer
from callboard_service.chat.sending import SendMessage
from callboard_service.log import make_log
from tests.support.handlers import answers_of
from tests.support.scripted_replies import RandomReplies
from transport.client.conversation_state import ConversationState

RUNS = int(os.environ.get("FOLLOWERS", "300"))
"""Random runs; `make followers` has 10,000."""


class Service:
    """The chat's actors over a backend with random replies, without sessions and sockets."""

    def __init__(self) -> None:
        self.backend = RandomReplies()
        self.registry = Registry()
        self.system = ActorSystem()
        self._probes = 0

    async def start(self) -> None:
        chat.register(self.registry, self.backend, make_log("error"))
        await self.system.start(self.backend.store_spec().factory, name="store")
        extensions = self.registry.background_actors
        await self.system.start(lambda: Extensions(extensions), name="extensions")

    def follow(self, conversation: str, after: int) -> AsyncGenerator[ConversationEvent, None]:
        request = FollowSessionRequest(session_id=conversation, after=after)
        return self._answers(FollowSession(), request)

    def send(self, conversation: str, **fields: Any) -> AsyncGenerator[Any, None]:
        handler = SendMessage(self.backend.journal)
        return self._answers(handler, SendMessageRequest(session_id=conversation, **fields))

    def _answers(self, handler: Any, request: Any) -> AsyncGenerator[Any, None]:
        self._probes += 1
        name = f"request-{self._probes}"
        return answers_of(handler, request, self.registry, self.system, name)


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    service = Service()
    await service.start()
    yield service
    await service.system.stop()


async def sender(service: Service, conversation: str, seed: str) -> tuple[str, str]:
    """Send the message, answer its asks; return the text by its tokens, and the end."""
    tokens: list[str] = []
    ref = service.registry.actor(Conversation, conversation)
    try:
        async with aclosing(service.send(conversation, text=seed, message_id=seed)) as events:
            async for event in events:
                match event:
                    case ChatToken():
                        tokens.append(event.text)
                    case ChatNotice():
                        del tokens[len(tokens) - min(event.discard_tokens, len(tokens)) :]
                        if event.discard_tokens:
                            assert event.keep_text_bytes == len("".join(tokens).encode())
                    case ChatCompleted():
                        return "".join(tokens), "COMPLETED"
                    case _ if event.DESCRIPTOR.name == "AskEvent":
                        answer = AnswerRequest(ask_id=event.ask_id, answers=["yes"])
                        closed = await ref.ask(Answer(answer), timeout=30.0)
                        assert closed.answers == ["yes"]
    except Failure as failure:
        return "".join(tokens), failure.code.value
    raise AssertionError("a stream has an end")


async def follower(service: Service, conversation: str, random: Random) -> tuple[str, str]:
    """Follow with cuts, until the turn has ended; return its text and its end."""
    state = ConversationState()
    for _ in range(random.randint(0, 30)):
        await asyncio.sleep(0)
    while True:
        cut = random.randint(1, 40)
        async with aclosing(service.follow(conversation, state.position)) as events:
            async for event in events:
                before = state.position
                state.apply(event)
                assert state.position >= before
                for turn in state.turns.values():
                    if turn.completed is not None:
                        return turn.reply, "COMPLETED"
                    if turn.error is not None:
                        return turn.reply, turn.error.code
                if state.last_entry and not state.turns:
                    return await from_history(service, conversation)  # it had ended already
                if random.random() < 0.1:
                    await asyncio.sleep(0)
                cut -= 1
                if not cut:
                    break
        if random.random() < 0.1:
            state.position = 0


async def from_history(service: Service, conversation: str) -> tuple[str, str]:
    history = await service.backend.history(conversation, 0, "")
    text = "".join(entry.assistant_text for entry in history.entries)
    for entry in history.entries:
        if entry.HasField("completed"):
            return text, "COMPLETED"
        if entry.HasField("error"):
            return text, entry.error.code
    raise AssertionError("the turn is in the history, without its end")


async def test_all_clients_end_with_the_same_text(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = Random().randrange(10**9) if "FOLLOWERS" in os.environ else 0
    with capsys.disabled():
        if "FOLLOWERS" in os.environ:
            print(f"{RUNS} runs from seed {first}")  # noqa: T201 - to repeat a failure
    for seed in range(first, first + RUNS):
        random = Random(seed)
        # So little is kept that slow followers find gaps.
        monkeypatch.setattr(chat_log, "KEPT_BYTES", random.choice([0, 500, 2**20]))
        conversation = (await service.backend.create("")).id
        clients = [sender(service, conversation, f"{seed}")]
        clients += [follower(service, conversation, Random(seed + n)) for n in range(1, 4)]
        ends = await asyncio.gather(*clients)
        kept = await from_history(service, conversation)
        again = await sender(service, conversation, f"{seed}")
        assert set(ends) == {kept}, f"seed {seed}"
        assert again == kept, f"seed {seed}"
