"""Turns end by a stop, with those who stream them, or by themselves; the end is stored first."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from actors import ActorSystem, Code, Failure
from actors.testing import ManualClock
from callboard.v1.chat_pb2 import (
    ChatCompleted,
    ChatToken,
    DeleteSessionRequest,
    SendMessageRequest,
    SessionDeleted,
    StopTurnRequest,
    ToolCallEvent,
    ToolResultEvent,
    TurnInfo,
    TurnState,
)
from callboard_service.chat.sending import SendMessage
from callboard_service.store.pieces import CUT_OFF
from tests.support.chat_kit import ScriptedBackend
from tests.support.conversing import Talk, conversing, failure_of, text_of
from tests.support.cues import Cues, begun, follow, followed, gate, send, until
from tests.support.handlers import answers_of


def of_other_session(
    talk: Talk[ScriptedBackend], name: str, **fields: Any
) -> AsyncGenerator[Any, None]:
    """Send a message from a session of its own, which ends with the iteration."""
    request = SendMessageRequest(session_id=talk.conversation, message_id="m", **fields)
    handler = SendMessage(talk.backend.journal)
    return answers_of(handler, request, talk.calls.registry, talk.system, name)


async def test_a_turn_ends_with_the_last_request_that_streams_it(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    cues = Cues()
    async with conversing(ScriptedBackend(cues), actor_system) as talk:
        streams = [of_other_session(talk, name, text="hi") for name in ("one", "two")]
        for stream in streams:
            await begun(stream)
        await streams[0].aclose()
        await manual_clock.settle()
        assert cues.ended == []
        await streams[1].aclose()
        await manual_clock.settle()
        assert cues.ended == ["hi"]
        await talk.idle()
        assert await talk.kept() == ["hi", "! CANCELLED"]


@pytest.mark.parametrize("how", ["leave", "cancel"])
async def test_a_detached_turn_goes_on_without_anybody(
    actor_system: ActorSystem, manual_clock: ManualClock, how: str
) -> None:
    cues = Cues()
    async with conversing(ScriptedBackend(cues), actor_system) as talk:
        if how == "leave":
            stream = of_other_session(talk, "one", text="hi", detached=True)
            await begun(stream)
            await stream.aclose()
        else:
            sent = send(talk, "hi", message_id="m", detached=True)
            await begun(sent)
            sent.cancel()
            assert (await failure_of(sent))[0].code is Code.CANCELLED
        await manual_clock.settle()
        assert cues.ended == []
        cues.give(ChatToken(text="a"), ChatCompleted())
        await talk.idle()
        assert await talk.kept() == ["hi", "> a"]


async def test_a_stop_by_another_request_cancels_the_turn(actor_system: ActorSystem) -> None:
    """Whoever stops it gets its final state, and those who stream it get CANCELLED."""
    cues = Cues()
    async with conversing(ScriptedBackend(cues), actor_system) as talk:
        stream = send(talk, "hi", message_id="m")
        info = await begun(stream)
        cues.give(ChatToken(text="a"))
        assert isinstance(await anext(stream), ChatToken)
        stop = StopTurnRequest(session_id=talk.conversation, turn_id=info.id)
        for _ in range(2):
            stopped = await talk.calls.call(stop, TurnInfo)
            assert stopped.state == TurnState.TURN_STATE_CANCELLED
        assert (await failure_of(stream))[0].code is Code.CANCELLED
        assert await talk.kept() == ["hi", "> a", "! CANCELLED"]


@pytest.mark.parametrize("how", ["stop", "complete"])
async def test_a_tool_call_that_a_stop_cuts_off_has_a_result(
    actor_system: ActorSystem, how: str
) -> None:
    """A call of a turn that ends by itself may have none: nobody said that it runs."""
    cues = Cues()
    async with conversing(ScriptedBackend(cues), actor_system) as talk:
        following = await followed(talk)
        stream = send(talk, "hi")
        for call_id in ("done", "open"):
            cues.give(ToolCallEvent(call_id=call_id, name="bash"))
        cues.give(ToolResultEvent(call_id="done", output="fine"))
        await until(following, "tool_result")
        if how == "stop":
            await talk.calls.call(StopTurnRequest(session_id=talk.conversation), TurnInfo)
            await failure_of(stream)
        else:
            cues.give(ChatCompleted())
            _ = [event async for event in stream]
        await talk.idle()
        results = [one.tool_result for one in await talk.entries() if one.HasField("tool_result")]
        cut_off = ToolResultEvent(call_id="open", output=CUT_OFF, is_error=True)
        assert results[1:] == ([cut_off] if how == "stop" else [])
        if how == "stop":
            assert (await until(following, "tool_result"))[-1].tool_result == cut_off


async def test_a_stop_of_everything_empties_the_queue(actor_system: ActorSystem) -> None:
    cues = Cues()
    async with conversing(ScriptedBackend(cues), actor_system) as talk:
        streams = [send(talk, text, message_id=text) for text in ("one", "two", "three")]
        for stream in streams:
            await begun(stream)
        stopped = await talk.calls.call(StopTurnRequest(session_id=talk.conversation), TurnInfo)
        assert stopped.message_id == "one"
        cues.give(ChatCompleted(), ChatCompleted())  # for turns that were left in the queue
        for stream in streams:
            assert (await failure_of(stream))[0].code is Code.CANCELLED
        assert await talk.kept() == ["one", "! CANCELLED"]


async def test_the_end_of_a_turn_is_stored_before_anybody_sees_it(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    cues = Cues()
    async with conversing(ScriptedBackend(cues), actor_system) as talk:
        following = await followed(talk)
        stream = send(talk, "hi", message_id="m")
        await begun(stream)
        await until(following, "turn")
        sent = asyncio.ensure_future(anext(stream))
        event = asyncio.ensure_future(anext(following))
        with gate(talk.backend.journal, "end") as end:
            cues.give(ChatCompleted())
            await end.reached.wait()
            await manual_clock.settle()
            assert (sent.done(), event.done()) == (False, False)
        info = await sent
        assert isinstance(info, TurnInfo)
        assert info.state == TurnState.TURN_STATE_COMPLETED
        assert (await event).turn == info
        assert await anext(stream) == ChatCompleted()


async def test_a_message_in_place_of_a_failed_one_takes_its_place_in_the_history(
    actor_system: ActorSystem,
) -> None:
    cues = Cues()
    async with conversing(ScriptedBackend(cues), actor_system) as talk:
        cues.give(Failure(Code.UNAVAILABLE, "no"))
        _, (info, *_) = await failure_of(send(talk, "one", message_id="1"))
        cues.give(ChatToken(text="a"), ChatCompleted())
        good = send(talk, "two", message_id="2", replaces=info.id)
        assert text_of([event async for event in good]) == "a"
        assert await talk.kept() == ["two", "> a"]
        done = await talk.backend.journal.find_turn(talk.conversation, message_id="2")
        assert done is not None
        refused, _ = await failure_of(send(talk, "three", message_id="3", replaces=done.id))
        assert refused.code is Code.FAILED_PRECONDITION
        assert await talk.kept() == ["two", "> a"]


async def test_followers_see_that_a_turn_was_replaced(actor_system: ActorSystem) -> None:
    """They get a snapshot, from which the turn is gone, as has its entry in the history."""
    cues = Cues()
    async with conversing(ScriptedBackend(cues), actor_system) as talk:
        following = await followed(talk)
        cues.give(Failure(Code.UNAVAILABLE, "no"))
        _, (info, *_) = await failure_of(send(talk, "one", message_id="1"))
        ended = (await until(following, "error"))[-1].position
        stream = send(talk, "two", message_id="2", replaces=info.id)
        second = await begun(stream)
        seen = [(await until(each, "snapshot"))[-1] for each in (following, follow(talk, ended))]
        for event in seen:
            assert [turn.info.id for turn in event.snapshot.turns] == [second.id]
            assert event.snapshot.last_entry == ""
        later = follow(talk, after=seen[0].position)
        cues.give(ChatToken(text="a"), ChatCompleted())
        assert text_of([each async for each in stream]) == "a"
        kinds = {each.WhichOneof("event") for each in await until(later, "completed")}
        assert "snapshot" not in kinds  # it has seen one since


async def test_followers_of_a_deleted_conversation_get_not_found(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    """Its running turn is cancelled first, and they see that."""
    cues = Cues()
    async with conversing(ScriptedBackend(cues), actor_system) as talk:
        following = await followed(talk)
        stream = send(talk, "hi", message_id="m")
        await begun(stream)
        await until(following, "turn")
        delete = DeleteSessionRequest(session_id=talk.conversation)
        await talk.calls.call(delete, SessionDeleted)
        await manual_clock.settle()
        rest = asyncio.ensure_future(failure_of(following))
        await manual_clock.settle()
        assert rest.done()
        failure, events = await rest
        assert failure.code is Code.NOT_FOUND
        assert events[-1].error.code == "CANCELLED"
        assert (await failure_of(stream))[0].code is Code.CANCELLED


async def test_a_shutdown_does_not_wait_for_followers(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    async with conversing(ScriptedBackend(Cues()), actor_system) as talk:
        following = await followed(talk)
        drained = asyncio.ensure_future(talk.calls.drain())
        await manual_clock.settle()
        assert drained.done()
        failure, _ = await failure_of(following)
        assert (failure.code, failure.retryable) == (Code.UNAVAILABLE, True)
