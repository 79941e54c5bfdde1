"""A request that reads its turn slowly gets every token of it, and each as it was sent."""

import pytest

from actors import ActorSystem, Burst
from callboard.v1.chat_pb2 import ChatCompleted, ChatToken
from callboard_service.chat import log
from tests.support.chat_kit import ScriptedBackend
from tests.support.conversing import conversing
from tests.support.cues import Cues, begun, send

WORDS = [f"{number:03} " for number in range(500)]


async def test_a_slow_sender_gets_every_token_as_it_was_sent(
    actor_system: ActorSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads after the turn has ended, and more turns of the conversation after it."""
    monkeypatch.setattr(log, "KEPT_BYTES", 0)
    cues = Cues()
    async with conversing(ScriptedBackend(cues), actor_system) as talk:
        stream = send(talk, "hi", message_id="m", detached=True)
        await begun(stream)
        cues.give(*(ChatToken(text=word) for word in WORDS[:10]))
        cues.give(Burst([ChatToken(text=word) for word in WORDS[10:]]), ChatCompleted())
        await talk.idle()
        cues.give(*(ChatToken(text="other") for _ in range(10)), ChatCompleted())
        await anext(send(talk, "other", message_id="o", admit_only=True))
        await talk.idle()
        tokens = [event.text async for event in stream if isinstance(event, ChatToken)]
        assert tokens == WORDS
