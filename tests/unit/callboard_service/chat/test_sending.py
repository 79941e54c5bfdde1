"""A request that streams a turn: its events, and the answers sent under it."""

from collections.abc import AsyncGenerator

from actors.runtime.system import ActorSystem
from actors.testing import serving
from callboard.v1.chat_pb2 import (
    AnswerRequest,
    AskClosed,
    AskEvent,
    ChatCompleted,
    CreateSessionRequest,
    SendMessageRequest,
    SessionInfo,
)
from callboard_service.backends.base import Prompt, ReplyEvent
from tests.support.chat_kit import ScriptedBackend


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
