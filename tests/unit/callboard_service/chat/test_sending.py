"""A request that streams a turn: its events, and the answers sent under it."""

from collections.abc import AsyncGenerator

import pytest

from actors import ActorSystem, Code, Failure
from actors.protocol.limits import SessionLimits
from actors.testing import ManualClock, serving
from callboard.v1.chat_pb2 import (
    AnswerRequest,
    AskClosed,
    AskEvent,
    ChatCompleted,
    ChatToken,
    ConversationEvent,
    CreateSessionRequest,
    FollowSessionRequest,
    SendMessageRequest,
    SessionInfo,
)
from callboard_service.backends.base import Prompt, ReplyEvent
from tests.support.chat_kit import ScriptedBackend

SLOW = SessionLimits().slow_consumer


async def two_together(prompt: Prompt) -> AsyncGenerator[ReplyEvent, None]:
    """Ask twice, and settle both once both are answered."""
    for ask_id in ("a", "b"):
        yield AskEvent(ask_id=ask_id, kind=AskEvent.KIND_QUESTION)
    answers = [await prompt.answered(), await prompt.answered()]
    for answer in answers:
        yield AskClosed(ask_id=answer.ask_id, answers=answer.answers, answered=True)
    yield ChatCompleted()


async def test_asks_that_are_settled_together_can_be_answered_under_one_request(
    actor_system: ActorSystem,
) -> None:
    """The second answer is passed on although the first one is not settled yet."""
    async with (
        ScriptedBackend(two_together).opened() as backend,
        serving(actor_system, backend.register) as calls,
    ):
        info = await calls.call(CreateSessionRequest(title="t"), SessionInfo)
        stream = calls.stream(
            SendMessageRequest(session_id=info.id, text="ask"), AskEvent, AskClosed, ChatCompleted
        )
        for _ in range(2):
            assert isinstance(await anext(stream), AskEvent)
        stream.tell(AnswerRequest(ask_id="b", answers=["1"]))
        stream.tell(AnswerRequest(ask_id="b", answers=["2"]))
        stream.tell(AnswerRequest(ask_id="a", answers=["3"]))
        rest = [answer async for answer in stream]
    closed = {event.ask_id: list(event.answers) for event in rest if isinstance(event, AskClosed)}
    assert closed == {"b": ["1"], "a": ["3"]}


async def long_reply(prompt: Prompt) -> AsyncGenerator[ReplyEvent, None]:
    """Reply with a hundred tokens of 50 bytes, which is more than may be ahead of the readers."""
    for number in range(100):
        yield ChatToken(text=f"{number:050}")
    yield ChatCompleted()


async def test_a_turn_ends_if_nobody_takes_anything_of_it(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    async with (
        ScriptedBackend(long_reply).opened() as backend,
        serving(actor_system, backend.register) as calls,
    ):
        info = await calls.call(CreateSessionRequest(title="t"), SessionInfo)
        request = SendMessageRequest(session_id=info.id, text="go")
        stream = calls.stream(request, ChatToken, ChatCompleted)
        first = await anext(stream)
        assert isinstance(first, ChatToken)
        await manual_clock.advance(SLOW + 0.1)
        with pytest.raises(Failure) as caught:
            _ = [answer async for answer in stream]
        assert caught.value.code is Code.RESOURCE_EXHAUSTED
        assert await backend.journal.open_turns(info.id) == []
        entries = (await backend.history(info.id, 0, "")).entries
    assert entries[1].assistant_text.startswith(first.text)
    assert entries[-1].error.code == "RESOURCE_EXHAUSTED"


async def test_a_turn_that_somebody_follows_goes_on_without_its_sender(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    """The sender, which reads nothing for long, gets the rest of the tokens one by one."""
    async with (
        ScriptedBackend(long_reply).opened() as backend,
        serving(actor_system, backend.register) as calls,
    ):
        info = await calls.call(CreateSessionRequest(title="t"), SessionInfo)
        following = calls.stream(FollowSessionRequest(session_id=info.id), ConversationEvent)
        await anext(following)  # the snapshot
        request = SendMessageRequest(session_id=info.id, text="go")
        stream = calls.stream(request, ChatToken, ChatCompleted)
        first = await anext(stream)
        assert isinstance(first, ChatToken)
        tokens = [first.text]
        seen = ""
        async for event in following:
            await manual_clock.advance(SLOW / 10)
            assert isinstance(event, ConversationEvent)
            seen += event.token.text
            if event.HasField("completed"):
                break
        await manual_clock.advance(2 * SLOW)
        tokens += [answer.text async for answer in stream if isinstance(answer, ChatToken)]
    assert seen == "".join(f"{number:050}" for number in range(100))
    assert tokens == [f"{number:050}" for number in range(100)]
