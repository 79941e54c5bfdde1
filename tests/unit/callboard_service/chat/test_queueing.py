"""The queue of a conversation is changed, jumped, and bypassed into the running turn."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from actors import ActorSystem, Code, Failure
from actors.testing import Answers, serving
from callboard.v1.chat_pb2 import (
    ChatCompleted,
    ChatToken,
    ConversationEvent,
    Delivery,
    HistoryEntry,
    SendMessageRequest,
    SteerEvent,
    StopTurnRequest,
    TurnInfo,
    TurnState,
    UpdateTurnRequest,
)
from callboard_service.backends.base import Prompt, ReplyEvent
from callboard_service.store.kept_turns import NewTurn
from tests.support.chat_kit import ScriptedBackend
from tests.support.conversing import Talk, conversing
from tests.support.cues import Cues, followed, gate, send, until

QUEUED = TurnState.TURN_STATE_QUEUED
RUNNING = TurnState.TURN_STATE_RUNNING
COMPLETED = TurnState.TURN_STATE_COMPLETED
CANCELLED = TurnState.TURN_STATE_CANCELLED
STEER = Delivery.DELIVERY_STEER
INTERRUPT = Delivery.DELIVERY_INTERRUPT

Scripted = Talk[ScriptedBackend]


async def admitted(talk: Scripted, text: str, **fields: Any) -> TurnInfo:
    """Send a message that nobody streams, with its text as its id; return its turn's state."""
    request = SendMessageRequest(
        session_id=talk.conversation, text=text, message_id=text, admit_only=True, **fields
    )
    return await talk.calls.call(request, TurnInfo)


async def change(talk: Scripted, turn: TurnInfo, **fields: Any) -> TurnInfo:
    request = UpdateTurnRequest(session_id=talk.conversation, turn_id=turn.id, **fields)
    return await talk.calls.call(request, TurnInfo)


async def refusal(talk: Scripted, text: str, **fields: Any) -> Code:
    with pytest.raises(Failure) as caught:
        await admitted(talk, text, **fields)
    assert await talk.backend.journal.find_turn(talk.conversation, message_id=text) is None
    return caught.value.code


async def queue(talk: Scripted) -> list[tuple[str, int]]:
    """Return the stored queue: the texts with their places."""
    turns = await talk.backend.journal.open_turns(talk.conversation)
    return [(turn.text, turn.place) for turn in turns if turn.state == QUEUED]


async def places(following: Answers[ConversationEvent], count: int) -> list[tuple[str, int]]:
    """Return the texts and places of the next `count` states of turns."""
    seen = []
    for _ in range(count):
        event = (await until(following, "turn"))[-1]
        seen.append((event.turn.message_id, event.turn.place))
    return seen


async def ran(talk: Scripted) -> list[str]:
    """Let every turn end; return the texts that the backend replied to, in order."""
    await talk.idle()
    return [prompt.text for prompt in talk.backend.prompts]


# Changes


async def test_a_queued_message_is_changed_and_moved(actor_system: ActorSystem) -> None:
    cues = Cues()
    async with conversing(ScriptedBackend(cues), actor_system) as talk:
        running = await admitted(talk, "one")
        second, third, fourth = [await admitted(talk, text) for text in ("two", "three", "four")]
        following = await followed(talk)
        changed = await change(talk, third, text="3")
        assert (changed.text, changed.place, changed.state) == ("3", 2, QUEUED)
        event = (await until(following, "turn"))[-1]
        assert (event.turn.text, event.turn.place) == ("3", 2)
        assert (await change(talk, fourth, place=1)).place == 1
        assert sorted(await places(following, 3)) == [("four", 1), ("three", 3), ("two", 2)]
        assert (await change(talk, second, place=99)).place == 3
        assert await queue(talk) == [("four", 1), ("3", 2), ("two", 3)]
        for turn, fields, code in (
            (running, {"text": "x"}, Code.FAILED_PRECONDITION),
            (second, {"text": " "}, Code.INVALID_ARGUMENT),
            (second, {"place": 0}, Code.INVALID_ARGUMENT),
            (TurnInfo(id="no"), {"place": 1}, Code.NOT_FOUND),
        ):
            with pytest.raises(Failure) as caught:
                await change(talk, turn, **fields)
            assert caught.value.code is code
        cues.give(*[ChatCompleted()] * 4)
        assert await ran(talk) == ["one", "four", "3", "two"]
        with pytest.raises(Failure) as caught:
            await change(talk, second, place=1)
        assert caught.value.code is Code.FAILED_PRECONDITION


# Interrupting


async def test_an_interrupting_message_runs_next_and_the_running_turn_is_cancelled(
    actor_system: ActorSystem,
) -> None:
    cues = Cues()
    async with conversing(ScriptedBackend(cues), actor_system) as talk:
        stream = send(talk, "one")
        cues.give(ChatToken(text="kept"))
        assert await anext(stream) == ChatToken(text="kept")
        await admitted(talk, "two")
        urgent = await admitted(talk, "now", delivery=INTERRUPT)
        assert urgent.place == 1
        with pytest.raises(Failure) as caught:
            await anext(stream)
        assert caught.value.code is Code.CANCELLED
        cues.give(ChatCompleted(), ChatCompleted())
        assert await ran(talk) == ["one", "now", "two"]
        assert (await talk.kept())[:4] == ["one", "> kept", "! CANCELLED", "now"]


async def test_an_interrupting_message_starts_at_once_if_nothing_runs(
    actor_system: ActorSystem,
) -> None:
    cues = Cues()
    cues.give(ChatCompleted())
    async with conversing(ScriptedBackend(cues), actor_system) as talk:
        assert (await admitted(talk, "one", delivery=INTERRUPT)).state == RUNNING
        assert await ran(talk) == ["one"]


# Steering


@pytest.mark.parametrize("uses", [False, True])
async def test_a_message_for_the_running_turn_that_is_sent_again_is_answered_with_that_turn(
    actor_system: ActorSystem, *, uses: bool
) -> None:
    """It streams no turn, so the turn goes on when its sender leaves."""
    cues = Cues()
    async with conversing(ScriptedBackend(cues), actor_system) as talk:
        following = await followed(talk)
        await admitted(talk, "one")
        sent: dict[str, Any] = {"message_id": "left", "delivery": STEER}
        for again in range(3):
            if again and uses:
                cues.give(SteerEvent(message_id="left"))
                await until(following, "steered")
                uses = False
            if again == 2:  # it would be refused, were it new
                sent["target_turn"] = "of before"
            (info,) = [event async for event in send(talk, "left", **sent)]
            assert isinstance(info, TurnInfo)
            assert (info.message_id, info.state) == ("one", RUNNING)
        cues.give(ChatCompleted(), ChatCompleted())
        await until(following, "completed")
        assert [message.text for message in talk.backend.handed] == ["left"]


async def test_a_message_that_the_running_turn_uses_is_part_of_it(
    actor_system: ActorSystem,
) -> None:
    cues = Cues()
    async with conversing(ScriptedBackend(cues), actor_system) as talk:
        following = await followed(talk)
        stream = send(talk, "one", message_id="m")
        cues.give(ChatToken(text="a"))
        await until(following, "token")
        info = await admitted(talk, "left", delivery=STEER)
        assert (info.message_id, info.state) == ("m", RUNNING)
        assert [message.text for message in talk.backend.handed] == ["left"]
        cues.give(SteerEvent(message_id="left"), ChatToken(text="b"), ChatCompleted())
        events = await until(following, "completed")
        kinds = [event.WhichOneof("event") for event in events]
        assert kinds == ["steered", "token", "turn", "completed"]
        assert events[0].steered == SteerEvent(message_id="left", text="left")
        sent = [event async for event in stream]
        assert not any(isinstance(event, SteerEvent) for event in sent)
        assert await talk.kept() == ["one", "> a", "left", "> b"]
        assert len({entry.turn_id for entry in await talk.entries()}) == 1
        # Sent again, it is answered with the turn that it became part of.
        again = await admitted(talk, "left", delivery=STEER)
        assert (again.message_id, again.state) == ("m", COMPLETED)
        assert await ran(talk) == ["one"]


async def test_messages_that_the_running_turn_does_not_use_are_the_next_turns(
    actor_system: ActorSystem,
) -> None:
    cues = Cues()
    async with conversing(ScriptedBackend(cues), actor_system) as talk:
        await admitted(talk, "one")
        await admitted(talk, "two")
        for text in ("first", "second"):
            await admitted(talk, text, delivery=STEER)
        following = await followed(talk)
        assert await queue(talk) == [("first", 1), ("second", 2), ("two", 3)]
        cues.give(ChatCompleted())
        await until(following, "completed")
        cues.give(*[ChatCompleted()] * 3)
        assert await ran(talk) == ["one", "first", "second", "two"]


async def test_a_message_that_the_running_turn_has_not_used_survives_a_stop(
    actor_system: ActorSystem,
) -> None:
    cues = Cues()
    async with conversing(ScriptedBackend(cues), actor_system) as talk:
        turn = await admitted(talk, "one")
        await admitted(talk, "left", delivery=STEER)
        stop = StopTurnRequest(session_id=talk.conversation, turn_id=turn.id)
        assert (await talk.calls.call(stop, TurnInfo)).state == CANCELLED
        cues.give(ChatCompleted())
        assert await ran(talk) == ["one", "left"]


async def test_a_message_used_in_the_moment_of_a_stop_is_kept_once(
    actor_system: ActorSystem,
) -> None:
    """The store has made it part of the turn, but the turn is stopped before it goes on."""
    cues = Cues()
    async with conversing(ScriptedBackend(cues), actor_system) as talk:
        turn = await admitted(talk, "one")
        await admitted(talk, "left", delivery=STEER)
        following = await followed(talk)
        with gate(talk.backend.journal, "hand_over", late=True) as handing:
            cues.give(SteerEvent(message_id="left"))
            await handing.reached.wait()
            stop = StopTurnRequest(session_id=talk.conversation, turn_id=turn.id)
            await talk.calls.call(stop, TurnInfo)
        events = await until(following, "error")
        assert "steered" in [event.WhichOneof("event") for event in events]
        assert await talk.kept() == ["one", "left", "! CANCELLED"]
        assert await ran(talk) == ["one"]


async def test_a_message_is_steered_only_if_the_backend_and_the_turn_take_it(
    actor_system: ActorSystem,
) -> None:
    cues = Cues()
    async with conversing(ScriptedBackend(cues), actor_system) as talk:
        assert await refusal(talk, "x", delivery=STEER) is Code.FAILED_PRECONDITION
        turn = await admitted(talk, "one")
        for delivery in (STEER, INTERRUPT):
            code = await refusal(talk, "x", delivery=delivery, target_turn="other")
            assert code is Code.FAILED_PRECONDITION
        assert await refusal(talk, "x", delivery=7) is Code.INVALID_ARGUMENT
        talk.backend.refusal = Failure(Code.FAILED_PRECONDITION, "not now")
        assert await refusal(talk, "x", delivery=STEER) is Code.FAILED_PRECONDITION
        talk.backend.refusal = None
        info = await admitted(talk, "x", delivery=STEER, target_turn=turn.id)
        assert info.id == turn.id
        cues.give(SteerEvent(message_id="x"), SteerEvent(message_id="never"), ChatCompleted())
        assert await ran(talk) == ["one"]


async def test_a_backend_that_does_not_steer_refuses_it(actor_system: ActorSystem) -> None:
    cues = Cues()
    backend = ScriptedBackend(cues)
    backend.features = ()
    async with conversing(backend, actor_system) as talk:
        await admitted(talk, "one")
        assert await refusal(talk, "x", delivery=STEER) is Code.FAILED_PRECONDITION
        cues.give(ChatCompleted())
        await talk.idle()


async def test_messages_handed_to_a_turn_count_as_waiting(actor_system: ActorSystem) -> None:
    cues = Cues()
    async with conversing(ScriptedBackend(cues), actor_system) as talk:
        await admitted(talk, "one")
        for number in range(16):
            await admitted(talk, f"{number}", delivery=STEER if number % 2 else 0)
        assert await refusal(talk, "x", delivery=STEER) is Code.RESOURCE_EXHAUSTED
        assert await refusal(talk, "x") is Code.RESOURCE_EXHAUSTED
        cues.give(*[ChatCompleted()] * 17)
        assert len(await ran(talk)) == 17


async def test_stopping_everything_drops_messages_handed_to_the_turn(
    actor_system: ActorSystem,
) -> None:
    cues = Cues()
    async with conversing(ScriptedBackend(cues), actor_system) as talk:
        await admitted(talk, "one")
        await admitted(talk, "two")
        await admitted(talk, "left", delivery=STEER)
        await talk.calls.call(StopTurnRequest(session_id=talk.conversation), TurnInfo)
        assert await ran(talk) == ["one"]
        assert (await admitted(talk, "left")).state == CANCELLED


async def went_on(prompt: Prompt) -> AsyncGenerator[ReplyEvent, None]:
    """Go on as a reply that has used the message "first", and then uses "second"."""
    if prompt.resumed:
        for text in ("first", "second"):
            yield ChatToken(text=text)
            yield SteerEvent(message_id=text)
    yield ChatCompleted()


async def test_messages_handed_to_a_turn_that_goes_on_after_a_restart_run_once(
    actor_system: ActorSystem,
) -> None:
    """One was used before the service ended, one after it, one not at all."""
    async with ScriptedBackend(went_on, resumes=True).opened() as backend:
        name, journal = (await backend.create("")).id, backend.journal
        await journal.admit(name, NewTurn("t", "go", "m", detached=True, starts=True))
        for place, text in enumerate(("first", "second", "third"), start=1):
            new = NewTurn(text, text, text, detached=True, starts=False, place=place, handed=True)
            await journal.admit(name, new)
        await journal.admit(name, NewTurn("q", "queued", "q", detached=True, starts=False))
        await journal.hand_over(name, "first", "t", HistoryEntry(user_text="first"))
        async with serving(actor_system, backend.register):
            async with asyncio.timeout(10):
                while await journal.open_turns(name):
                    pass
        entries = (await backend.history(name, 0, "")).entries
        said = [(entry.turn_id, entry.user_text) for entry in entries if entry.user_text]
        assert said == [
            ("t", "go"), ("t", "first"), ("t", "second"), ("third", "third"), ("q", "queued"),
        ]  # fmt: skip
        assert [prompt.text for prompt in backend.prompts] == ["go", "third", "queued"]
