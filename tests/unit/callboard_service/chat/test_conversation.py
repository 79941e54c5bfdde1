"""A conversation's actor takes up the turns that were open when the service ended."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta

import pytest

from actors import Code, Failure
from actors.runtime.system import ActorSystem
from actors.testing import ManualClock, serving
from callboard.v1.chat_pb2 import (
    ChatToken,
    SendMessageRequest,
    StopTurnRequest,
    TurnInfo,
    TurnState,
)
from callboard_service.backends.base import Prompt, ReplyEvent
from callboard_service.store.turns import NewTurn
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
