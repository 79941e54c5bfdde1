"""A conversation's actor takes up the turns that were open when the service ended."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import pytest

from actors import Code, Failure
from actors.runtime.system import ActorSystem
from actors.testing import ManualClock, serving
from callboard.v1.chat_pb2 import (
    ChatCompleted,
    ChatToken,
    Delivery,
    GetHistoryRequest,
    History,
    HistoryEntry,
    SendMessageRequest,
    StopTurnRequest,
    TurnInfo,
    TurnState,
    UpdateTurnRequest,
)
from callboard_service.backends.base import Prompt, ReplyEvent
from callboard_service.store.kept_turns import NewTurn
from callboard_service.store.turn_store import TurnOutputPieces
from tests.support.chat_kit import ScriptedBackend

LATER = datetime.now(UTC) + timedelta(seconds=3000)


async def endless(prompt: Prompt) -> AsyncGenerator[ReplyEvent, None]:
    """Say one word, and never end."""
    yield ChatToken(text=prompt.text)
    await asyncio.Event().wait()


async def keep(backend: ScriptedBackend, *turns: NewTurn) -> str:
    """Create a conversation with these turns, as an earlier service left it."""
    info = await backend.create("kept")
    for turn in turns:
        await backend.journal.admit(info.id, turn)
    return info.id


def queued(name: str, *, deadline_at: datetime | None = None, detached: bool = True) -> NewTurn:
    return NewTurn(
        name,
        name,
        message_id=name,
        detached=detached,
        deadline_at=deadline_at,
        starts=False,
    )


async def test_a_queued_turn_keeps_its_deadline_across_restarts(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    """A detached turn that was queued runs after a restart, and ends at its deadline."""
    async with ScriptedBackend(endless).opened() as backend:
        name = await keep(backend, queued("m", deadline_at=LATER))
        async with serving(actor_system, backend.register) as calls:
            again = SendMessageRequest(session_id=name, message_id="m", text="again")
            stream = calls.stream(again, TurnInfo, ChatToken)
            while not isinstance(await anext(stream), ChatToken):
                pass
            await manual_clock.advance(3600)
            with pytest.raises(Failure) as caught:
                async for _ in stream:
                    pass
        assert caught.value.code is Code.DEADLINE_EXCEEDED


async def test_the_state_of_a_kept_turn_is_told_though_it_still_waits(
    actor_system: ActorSystem,
) -> None:
    """A message sent again after a restart is answered at once if only its admission counts."""
    async with ScriptedBackend(endless).opened() as backend:
        name = await keep(backend, queued("first"), queued("second"))
        async with serving(actor_system, backend.register) as calls:
            again = SendMessageRequest(session_id=name, message_id="second", admit_only=True)
            info = await calls.call(again, TurnInfo)
            await calls.call(StopTurnRequest(session_id=name), TurnInfo)
    assert (info.state, info.place, info.text) == (TurnState.TURN_STATE_QUEUED, 2, "second")


def running(*, detached: bool = True) -> NewTurn:
    return NewTurn("m", "go on", message_id="m", detached=detached, starts=True)


async def kept_running(backend: ScriptedBackend, *, detached: bool = True) -> str:
    """Keep a conversation with a running turn that has said "half"."""
    name = await keep(backend, running(detached=detached))
    half = TurnOutputPieces(name, "m", [HistoryEntry(assistant_text="half")])
    await backend.journal.add_output([half])
    return name


async def goes_on(prompt: Prompt) -> AsyncGenerator[ReplyEvent, None]:
    """Yield all of a reply that went on without the service."""
    assert prompt.resumed
    yield ChatToken(text="half ")
    yield ChatToken(text="and half")
    yield ChatCompleted(output_tokens=2)


async def is_over(prompt: Prompt) -> AsyncGenerator[ReplyEvent, None]:
    """Raise the failure of a reply that did not go on."""
    if prompt.resumed:
        raise Failure(Code.UNAVAILABLE, "nothing runs there")
    yield ChatToken()


async def texts(backend: ScriptedBackend, name: str) -> list[str]:
    """Return the history, each entry in a short form."""
    entries = (await backend.history(name, 0, "")).entries
    return [entry.user_text or entry.assistant_text or entry.error.code for entry in entries]


def send_again(name: str) -> SendMessageRequest:
    return SendMessageRequest(session_id=name, message_id="m", text="again")


async def test_a_reply_that_went_on_is_shown_from_its_beginning(actor_system: ActorSystem) -> None:
    """What was stored before the service ended is not kept twice."""
    async with ScriptedBackend(goes_on, resumes=True).opened() as backend:
        name = await kept_running(backend)
        async with serving(actor_system, backend.register) as calls:
            stream = calls.stream(send_again(name), TurnInfo, ChatToken, ChatCompleted)
            events = [event async for event in stream]
        said = [event.text for event in events if isinstance(event, ChatToken)]
        assert "".join(said) == "half and half"
        assert await texts(backend, name) == ["go on", "half and half"]
        turn = await backend.journal.find_turn(name, turn_id="m")
    assert turn is not None
    assert turn.state == TurnState.TURN_STATE_COMPLETED
    assert len(backend.prompts) == 1


async def test_a_reply_that_did_not_go_on_is_interrupted_with_what_was_stored(
    actor_system: ActorSystem,
) -> None:
    """Whatever keeps the backend from going on, the turn ends as after any crash."""
    async with ScriptedBackend(is_over, resumes=True).opened() as backend:
        name = await kept_running(backend)
        async with serving(actor_system, backend.register) as calls:
            with pytest.raises(Failure) as caught:
                async for _ in calls.stream(send_again(name), TurnInfo, ChatToken):
                    pass
        assert await texts(backend, name) == ["go on", "half", "ABORTED"]
        turn = await backend.journal.find_turn(name, turn_id="m")
    assert turn is not None
    assert turn.state == TurnState.TURN_STATE_INTERRUPTED
    assert (caught.value.code, caught.value.retryable) == (Code.ABORTED, False)


async def test_a_backend_that_cannot_resume_is_not_asked(actor_system: ActorSystem) -> None:
    """Its running turns are interrupted when the conversation is taken up."""
    async with ScriptedBackend(goes_on).opened() as backend:
        name = await kept_running(backend)
        async with serving(actor_system, backend.register) as calls:
            with pytest.raises(Failure, match="ABORTED"):
                async for _ in calls.stream(send_again(name), TurnInfo, ChatToken):
                    pass
        assert await texts(backend, name) == ["go on", "half", "ABORTED"]
    assert backend.prompts == []


async def asks_for_ever(prompt: Prompt) -> AsyncGenerator[ReplyEvent, None]:
    """Wait for a server that does not answer."""
    await asyncio.Event().wait()
    yield ChatToken()


async def test_a_turn_stays_running_while_the_backend_is_asked(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    """If the service ends before there is an answer, the next one asks again."""
    async with ScriptedBackend(asks_for_ever, resumes=True).opened() as backend:
        name = await kept_running(backend)
        async with AsyncExitStack() as stack:
            calls = await stack.enter_async_context(serving(actor_system, backend.register))
            info = await anext(calls.stream(send_again(name), TurnInfo))
            assert info.state == TurnState.TURN_STATE_RUNNING
            await manual_clock.until(stack.aclose())
        (turn,) = await backend.journal.open_turns(name)
        assert turn.state == TurnState.TURN_STATE_RUNNING
        assert len(await backend.journal.turn_entries(name, "m")) == 2


async def test_a_turn_that_is_stopped_while_the_backend_is_asked_keeps_its_output(
    actor_system: ActorSystem,
) -> None:
    """It is cancelled, and what was stored of it enters the history."""
    async with ScriptedBackend(asks_for_ever, resumes=True).opened() as backend:
        name = await kept_running(backend)
        async with serving(actor_system, backend.register) as calls:
            info = await calls.call(StopTurnRequest(session_id=name), TurnInfo)
        assert info.state == TurnState.TURN_STATE_CANCELLED
        assert await texts(backend, name) == ["go on", "half", "CANCELLED"]


async def test_a_reply_that_goes_on_for_nobody_is_stopped(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    """The message of a turn that is not detached must be sent again within the resume window."""
    async with ScriptedBackend(asks_for_ever, resumes=True).opened() as backend:
        name = await kept_running(backend, detached=False)
        async with serving(actor_system, backend.register, features=["follow"]) as calls:
            await calls.call(GetHistoryRequest(session_id=name), History)
            await manual_clock.advance(121)
            with pytest.raises(Failure, match="not sent again") as caught:
                async for _ in calls.stream(send_again(name), TurnInfo, ChatToken):
                    pass
        assert caught.value.code is Code.CANCELLED


async def test_a_running_reply_does_not_delay_the_end_of_the_service(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    """The turn is interrupted at once, with what it had said."""
    async with ScriptedBackend(endless).opened() as backend:
        name = await keep(backend, queued("m"))
        async with serving(actor_system, backend.register) as calls:
            stream = calls.stream(send_again(name), TurnInfo, ChatToken)
            while not isinstance(await anext(stream), ChatToken):
                pass
        assert manual_clock.now() == 0.0
        assert await texts(backend, name) == ["m", "m", "ABORTED"]


async def says_its_text(prompt: Prompt) -> AsyncGenerator[ReplyEvent, None]:
    """Repeat the message."""
    yield ChatToken(text=prompt.text)
    yield ChatCompleted()


async def test_a_detached_queued_turn_runs_after_a_restart_without_a_client(
    actor_system: ActorSystem,
) -> None:
    async with ScriptedBackend(says_its_text).opened() as backend:
        name = await keep(backend, queued("first"), queued("second"))
        async with serving(actor_system, backend.register), asyncio.timeout(5):
            while await backend.journal.open_turns(name):
                pass
        assert await texts(backend, name) == ["first", "first", "second", "second"]


async def test_a_queued_turn_waits_after_a_restart_until_its_message_is_sent_again(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    """Those behind it wait for it. A message that was sent again is not given up."""
    async with ScriptedBackend(endless).opened() as backend:
        name = await keep(backend, queued("m", detached=False), queued("next"))
        async with serving(actor_system, backend.register) as calls:
            behind = SendMessageRequest(session_id=name, message_id="next", admit_only=True)
            assert (await calls.call(behind, TurnInfo)).place == 2
            assert backend.prompts == []
            stream = calls.stream(send_again(name), TurnInfo, ChatToken)
            while not isinstance(await anext(stream), ChatToken):
                pass
            await manual_clock.advance(121)
            states = [turn.state for turn in await backend.journal.open_turns(name)]
            assert states == [TurnState.TURN_STATE_RUNNING, TurnState.TURN_STATE_QUEUED]
            backend.script = says_its_text
            stop = StopTurnRequest(session_id=name, turn_id="m")
            assert (await calls.call(stop, TurnInfo)).state == TurnState.TURN_STATE_CANCELLED
            while await backend.journal.open_turns(name):
                pass
        assert await texts(backend, name) == ["m", "m", "CANCELLED", "next", "next"]


@pytest.mark.parametrize("how", ["expires", "stopped", "overtaken", "interrupting"])
async def test_the_queue_goes_on_once_its_blocked_first_turn_is_first_no_more(
    actor_system: ActorSystem, manual_clock: ManualClock, how: str
) -> None:
    """The first turn waits for its message to be sent again, and the one behind it may run."""
    async with ScriptedBackend(says_its_text).opened() as backend:
        name = await keep(backend, queued("m", detached=False), queued("next"))
        async with serving(actor_system, backend.register, features=["follow"]) as calls:
            await calls.call(GetHistoryRequest(session_id=name), History)
            assert backend.prompts == []
            match how:
                case "expires":
                    await manual_clock.advance(121)
                case "stopped":
                    await calls.call(StopTurnRequest(session_id=name, turn_id="m"), TurnInfo)
                case "overtaken":
                    move = UpdateTurnRequest(session_id=name, turn_id="next", place=1)
                    await calls.call(move, TurnInfo)
                case _:
                    urgent = SendMessageRequest(
                        session_id=name,
                        text="now",
                        message_id="now",
                        admit_only=True,
                        delivery=Delivery.DELIVERY_INTERRUPT,
                    )
                    await calls.call(urgent, TurnInfo)
            first = "now" if how == "interrupting" else "next"
            async with asyncio.timeout(5):
                while not backend.prompts:
                    await calls.call(GetHistoryRequest(session_id=name), History)
        assert backend.prompts[0].text == first


async def test_a_queued_turn_whose_message_is_not_sent_again_is_cancelled(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    """A turn that is not detached has the resume window; its message does not run later."""
    async with ScriptedBackend(says_its_text).opened() as backend:
        name = await keep(backend, queued("m", detached=False))
        async with serving(actor_system, backend.register, features=["follow"]) as calls:
            await calls.call(GetHistoryRequest(session_id=name), History)
            await manual_clock.advance(121)
            with pytest.raises(Failure, match="not sent again") as caught:
                async for _ in calls.stream(send_again(name), TurnInfo, ChatToken, ChatCompleted):
                    pass
        assert caught.value.code is Code.CANCELLED
        assert await texts(backend, name) == []
    assert backend.prompts == []
