"""Several clients answer an ask at once, in random orders: one effect, and all learn the outcome.

A run depends only on its seed: the store's jobs run at once instead of in threads.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any, TypeVar

import pytest

from actors import ActorSystem, Code, Failure
from actors.testing import Answers, Calls, ManualClock, interleaved
from callboard.v1.chat_pb2 import (
    AnswerAskRequest,
    AnswerRequest,
    AskClosed,
    AskEvent,
    ChatCompleted,
    ChatToken,
    ConversationEvent,
    FollowSessionRequest,
    SendMessageRequest,
    StopTurnRequest,
    TurnInfo,
)
from callboard_service.backends.base import Prompt, ReplyEvent
from callboard_service.store import connection
from tests.support.chat_kit import ScriptedBackend
from tests.support.conversing import Talk, conversing

T = TypeVar("T")


class AtOnce:
    """Stands for the store's thread: runs each job when it is submitted."""

    def __init__(self, name: str) -> None: ...
    def end(self) -> None: ...
    def join(self, timeout: float) -> None: ...

    def submit(self, work: Callable[[], T], at_most: int | None = None) -> "asyncio.Future[T]":
        """Run `work` and return its result or what it raised."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        try:
            future.set_result(work())
        except Exception as error:  # noqa: BLE001 - as in JobThread
            future.set_exception(error)
        return future


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "JobThread", AtOnce)


class Asking:
    """A script that asks once. taken: the answers that the backend got."""

    def __init__(self) -> None:
        self.taken: list[str] = []

    async def __call__(self, prompt: Prompt) -> AsyncGenerator[ReplyEvent, None]:
        yield AskEvent(ask_id="a", kind=AskEvent.KIND_QUESTION)
        answer = await prompt.answered()
        self.taken += answer.answers
        yield AskClosed(ask_id="a", answers=answer.answers, answered=True)
        yield ChatToken(text="done")
        yield ChatCompleted()


Asked = Talk[ScriptedBackend]


async def answer(talk: Asked, text: str) -> list[str]:
    """Answer the ask from another request, and return what settled it."""
    request = AnswerRequest(ask_id="a", answers=[text])
    closed = await talk.calls.call(
        AnswerAskRequest(session_id=talk.conversation, answer=request), AskClosed
    )
    return list(closed.answers)


async def stop(calls: Calls, conversation: str) -> None:
    """Stop whatever runs."""
    await calls.call(StopTurnRequest(session_id=conversation), TurnInfo)


async def outcome(following: Answers[ConversationEvent]) -> list[list[str]]:
    """Return the answers of each AskClosed that a follower sees until the turn has ended."""
    seen: list[list[str]] = []
    async for event in following:
        assert isinstance(event, ConversationEvent)
        if event.HasField("ask_closed"):
            seen.append(list(event.ask_closed.answers))
        if event.WhichOneof("event") in {"completed", "error"}:
            break
    following.cancel()
    return seen


async def ask_and_answer(system: ActorSystem, *, stopped: bool) -> None:
    """Let three clients answer, and one follow; `stopped`: another one stops the turn meanwhile."""
    script = Asking()
    async with conversing(ScriptedBackend(script), system) as talk:
        following = talk.calls.stream(
            FollowSessionRequest(session_id=talk.conversation), ConversationEvent
        )
        await anext(following)  # the snapshot
        request = SendMessageRequest(session_id=talk.conversation, text="go")
        stream = talk.calls.stream(request, AskEvent, AskClosed, ChatToken, ChatCompleted)
        assert isinstance(await anext(stream), AskEvent)
        tasks = [asyncio.ensure_future(answer(talk, text)) for text in ("one", "two")]
        follower = asyncio.ensure_future(outcome(following))
        stream.tell(AnswerRequest(ask_id="a", answers=["three"]))
        if stopped:
            await stop(talk.calls, talk.conversation)
        seen = [list(e.answers) async for e in settled(stream, stopped=stopped)]
        learnt = [await task for task in tasks]
        assert len(script.taken) <= 1, "the backend got more than one answer"
        settles = seen[0]
        assert settles == script.taken or (stopped and settles == [])
        assert seen == [settles], "the sender's stream"
        assert learnt == [settles, settles], "those who answered"
        assert await follower == [settles], "the follower"
        kept = [e.ask_closed for e in await talk.entries() if e.HasField("ask_closed")]
        assert [list(closed.answers) for closed in kept] == [settles], "the history"


async def settled(stream: Answers[Any], *, stopped: bool) -> AsyncGenerator[AskClosed, None]:
    """Yield each AskClosed of the sender's stream, which ends with CANCELLED if it was stopped."""
    try:
        async for event in stream:
            if isinstance(event, AskClosed):
                yield event
    except Failure as failure:
        assert (failure.code, stopped) == (Code.CANCELLED, True)


@interleaved(runs=200)
async def test_two_answers_have_one_effect_in_any_order(
    system: ActorSystem, clock: ManualClock
) -> None:
    await ask_and_answer(system, stopped=False)


@interleaved(runs=200)
async def test_answers_and_a_stop_have_one_outcome_in_any_order(
    system: ActorSystem, clock: ManualClock
) -> None:
    await ask_and_answer(system, stopped=True)
