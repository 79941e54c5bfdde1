"""Replies that a test gives event by event, and calls of the store that a test holds back."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, get_args

import pytest

from actors import Burst, Failure
from actors.testing import Answers
from callboard.v1.chat_pb2 import (
    ChatCompleted,
    ConversationEvent,
    FollowSessionRequest,
    SendMessageRequest,
    TurnInfo,
)
from callboard_service.backends.base import Prompt, ReplyEvent
from callboard_service.chat.sending import SendEvent
from tests.support.chat_kit import ScriptedBackend
from tests.support.conversing import Talk

Cue = ReplyEvent | Burst[ReplyEvent] | Failure


class Cues:
    """A script for a ScriptedBackend: each turn yields what `give` gets until it has completed.

    ended: the texts of the messages whose replies have ended, however they did.
    """

    def __init__(self) -> None:
        self.ended: list[str] = []
        self._given: asyncio.Queue[Cue] = asyncio.Queue()

    def give(self, *cues: Cue) -> None:
        """Have the running turn, or the next one, yield these events; a Failure is raised."""
        for cue in cues:
            self._given.put_nowait(cue)

    async def __call__(
        self, prompt: Prompt
    ) -> AsyncGenerator[ReplyEvent | Burst[ReplyEvent], None]:
        """Yield the events of one turn."""
        try:
            while True:
                cue = await self._given.get()
                if isinstance(cue, Failure):
                    raise cue
                yield cue
                if isinstance(cue, ChatCompleted):
                    return
        finally:
            self.ended.append(prompt.text)


class Gate:
    """Holds back the calls of one function of a backend's journal.

    reached: set by the first call.
    """

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._open = asyncio.Event()

    async def wait(self) -> None:
        """Wait until the gate is open."""
        self.reached.set()
        await self._open.wait()

    def open(self) -> None:
        """Let all calls pass from now on."""
        self._open.set()


@contextmanager
def gate(journal: object, name: str, *, late: bool = False) -> Iterator[Gate]:
    """Hold back the calls of this function until the gate is opened or the block ends.

    late: carry the calls out, and hold back their results.
    """
    made, original = Gate(), getattr(journal, name)

    async def call(*arguments: object, **named: object) -> object:
        if not late:
            await made.wait()
        result = await original(*arguments, **named)
        if late:
            await made.wait()
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, name, call)
        try:
            yield made
        finally:
            made.open()


def send(talk: Talk[ScriptedBackend], text: str, **fields: Any) -> Answers[SendEvent]:
    """Send a message with these fields; return the events of its turn, to be pulled."""
    request = SendMessageRequest(session_id=talk.conversation, text=text, **fields)
    return talk.calls.stream(request, *get_args(SendEvent))


async def begun(stream: AsyncIterator[object]) -> TurnInfo:
    """Return the first event of a turn that was sent with a message id: its state."""
    info = await anext(stream)
    assert isinstance(info, TurnInfo)
    return info


def follow(talk: Talk[ScriptedBackend], after: int = 0) -> Answers[ConversationEvent]:
    """Follow the conversation; return its events, to be pulled."""
    request = FollowSessionRequest(session_id=talk.conversation, after=after)
    return talk.calls.stream(request, ConversationEvent)


async def followed(talk: Talk[ScriptedBackend]) -> Answers[ConversationEvent]:
    """Follow the conversation from now on, after its first snapshot."""
    following = follow(talk)
    await anext(following)
    return following


async def until(following: Answers[ConversationEvent], kind: str) -> list[ConversationEvent]:
    """Return the events up to the first one of this kind."""
    events: list[ConversationEvent] = []
    while not events or events[-1].WhichOneof("event") != kind:
        events.append(await anext(following))
    return events
