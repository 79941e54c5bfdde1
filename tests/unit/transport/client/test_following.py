"""Following a conversation across sessions and refusals: following.py."""

import asyncio

from actors.testing import ManualClock, manual_clock, settle
from callboard.v1.chat_pb2 import ChatError
from callboard.v1.envelope_pb2 import ClientMessage
from tests.support.scripted_websocket import ScriptedDialer
from transport.client import Client, by_url
from transport.client.following import RETRY_AFTER

__all__ = ["manual_clock"]


async def test_a_refusal_without_advice_is_not_answered_by_a_flood(
    manual_clock: ManualClock,
) -> None:
    """A conversation that is unavailable is asked for again after a pause."""
    asked: list[str] = []

    def refuse(message: ClientMessage) -> ChatError:
        asked.append(message.follow_session.session_id)
        return ChatError(code="UNAVAILABLE", retryable=True)

    dialer = ScriptedDialer(refuse)
    async with Client(by_url("ws://stage", ""), dialer=dialer, clock=manual_clock) as client:

        async def follow() -> None:
            async for _ in client.follow("c"):
                pass

        following = asyncio.create_task(follow())
        for count in (1, 2):
            await settle()
            assert asked == ["c"] * count
            await manual_clock.advance(RETRY_AFTER)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
