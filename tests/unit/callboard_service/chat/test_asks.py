"""An ask is settled by the first answer that it allows, whichever client gives it."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from actors import ActorSystem, Code, Failure
from actors.testing import ManualClock
from callboard.v1.chat_pb2 import (
    AnswerAskRequest,
    AnswerRequest,
    AskClosed,
    AskEvent,
    ChatCompleted,
)
from callboard_service.backends.base import Prompt, ReplyEvent
from tests.support.chat_kit import ScriptedBackend
from tests.support.conversing import Talk, conversing
from tests.support.cues import send


class TwoAsks:
    """A script that asks twice; it takes the answers once `taking` is set."""

    def __init__(self) -> None:
        self.taking = asyncio.Event()

    async def __call__(self, prompt: Prompt) -> AsyncGenerator[ReplyEvent, None]:
        for ask_id in ("a", "b"):
            options = ["once", "always", "reject"]
            yield AskEvent(ask_id=ask_id, kind=AskEvent.KIND_PERMISSION, options=options)
            await self.taking.wait()
            answer = await prompt.answered()
            yield AskClosed(ask_id=answer.ask_id, answers=answer.answers, answered=True)
        yield ChatCompleted()


async def answer(talk: Talk[ScriptedBackend], ask_id: str, text: str) -> tuple[str, list[str]]:
    """Answer an ask; return what settled it."""
    request = AnswerRequest(ask_id=ask_id, answers=[text])
    closed = await talk.calls.call(
        AnswerAskRequest(session_id=talk.conversation, answer=request), AskClosed
    )
    return closed.ask_id, list(closed.answers)


async def test_an_answer_that_an_ask_does_not_allow_leaves_it_open(
    actor_system: ActorSystem,
) -> None:
    script = TwoAsks()
    script.taking.set()
    async with conversing(ScriptedBackend(script), actor_system) as talk:
        stream = send(talk, "ask")
        assert isinstance(await anext(stream), AskEvent)
        with pytest.raises(Failure) as caught:
            await answer(talk, "a", "perhaps")
        assert caught.value.code is Code.INVALID_ARGUMENT
        assert await answer(talk, "a", "once") == ("a", ["once"])
        assert isinstance(await anext(stream), AskClosed)
        assert isinstance(await anext(stream), AskEvent)
        assert await answer(talk, "b", "once") == ("b", ["once"])
        with pytest.raises(Failure) as caught:
            await answer(talk, "c", "once")
        assert caught.value.code is Code.NOT_FOUND


async def test_the_first_answer_settles_an_ask_and_everybody_learns_it(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    """The backend gets no other answer, also of those that came before it took the first one."""
    script = TwoAsks()
    async with conversing(ScriptedBackend(script), actor_system) as talk:
        stream = send(talk, "ask")
        assert isinstance(await anext(stream), AskEvent)
        both = [asyncio.ensure_future(answer(talk, "a", text)) for text in ("once", "reject")]
        await manual_clock.settle()
        script.taking.set()
        assert [await one for one in both] == [("a", ["once"])] * 2
        assert isinstance(await anext(stream), AskClosed)
        assert isinstance(await anext(stream), AskEvent)
        assert await answer(talk, "a", "always") == ("a", ["once"])
        stream.tell(AnswerRequest(ask_id="b", answers=["always"]))
        rest = [event async for event in stream]
        closed = [(e.ask_id, list(e.answers)) for e in rest if isinstance(e, AskClosed)]
        assert closed == [("b", ["always"])]
