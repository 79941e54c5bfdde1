"""The output of a turn on its way to the log and the store."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from actors import ActorSystem
from actors.testing import ManualClock
from callboard.v1.chat_pb2 import (
    AskEvent,
    ChatCompleted,
    ChatToken,
    StopTurnRequest,
    ToolCallEvent,
    ToolResultEvent,
    TurnInfo,
    TurnState,
)
from callboard_service.backends.base import Prompt, ReplyEvent
from tests.support.chat_kit import ScriptedBackend
from tests.support.conversing import conversing
from tests.support.cues import Cues, begun, followed, gate, send, until


@pytest.mark.parametrize(
    "event",
    [
        ToolCallEvent(call_id="1", name="t"),
        ToolResultEvent(call_id="1", output="done"),
        AskEvent(ask_id="1"),
    ],
    ids=lambda event: type(event).__name__,
)
async def test_tool_calls_and_asks_are_stored_before_anybody_sees_them(
    actor_system: ActorSystem,
    manual_clock: ManualClock,
    event: ReplyEvent,
) -> None:
    cues = Cues()
    async with conversing(ScriptedBackend(cues), actor_system) as talk:
        stream = send(talk, "hi", message_id="m")
        await begun(stream)
        seen = asyncio.ensure_future(anext(stream))
        with gate(talk.backend.journal, "add_output") as output:
            cues.give(event)
            await manual_clock.settle()
            assert not seen.done()
            assert output.reached.is_set()
        assert await seen == event
        cues.give(ChatCompleted())
        _ = [event async for event in stream]


async def test_what_a_reply_says_after_its_end_is_dropped(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    """A backend that goes on although its turn was stopped is abandoned, and nobody hears it."""
    late = asyncio.Event()

    async def stubborn(prompt: Prompt) -> AsyncGenerator[ReplyEvent, None]:
        yield ChatToken(text="a")
        if prompt.text == "hi":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await late.wait()
            yield ChatToken(text="late")
            yield ToolCallEvent(call_id="1", name="late")
        yield ChatCompleted()

    async with conversing(ScriptedBackend(stubborn), actor_system) as talk:
        following = await followed(talk)
        send(talk, "hi", message_id="m", detached=True)
        await until(following, "token")
        stop = StopTurnRequest(session_id=talk.conversation)
        stopped = asyncio.ensure_future(talk.calls.call(stop, TurnInfo))
        await manual_clock.advance(actor_system.kill_grace)
        assert (await stopped).state == TurnState.TURN_STATE_CANCELLED
        await until(following, "error")
        late.set()
        await manual_clock.settle()
        send(talk, "again", message_id="n", detached=True)
        kinds = [event.WhichOneof("event") for event in await until(following, "completed")]
        assert kinds == ["info", "turn", "token", "turn", "completed"]
        assert await talk.kept() == ["hi", "> a", "! CANCELLED", "again", "> a"]
