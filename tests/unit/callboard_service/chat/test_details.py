from collections.abc import AsyncGenerator

from actors import ActorSystem
from callboard.v1.chat_pb2 import (
    AskEvent,
    ChatCompleted,
    ChatToken,
    TurnState,
)
from callboard_service.backends.base import Prompt, ReplyEvent
from callboard_service.chat.details import ConversationDetails
from tests.support.chat_kit import ScriptedBackend
from tests.support.conversing import conversing
from tests.support.cues import begun, followed, send


def details(system: ActorSystem, name: str) -> ConversationDetails:
    view = system.root
    for part in ("extensions", "Conversation", name):
        child = view.child(part)
        assert child is not None
        view = child
    found = view.details
    assert isinstance(found, ConversationDetails)
    return found


async def test_a_conversation_shows_its_turns_and_its_readers(actor_system: ActorSystem) -> None:
    async def asking(prompt: Prompt) -> AsyncGenerator[ReplyEvent, None]:
        yield ChatToken(text="a secret")
        yield AskEvent(ask_id="a", kind=AskEvent.KIND_QUESTION, title="a secret")
        await prompt.answered()
        yield ChatCompleted()

    async with conversing(ScriptedBackend(asking), actor_system) as talk:
        name = talk.conversation
        await followed(talk)
        idle = details(actor_system, name)
        assert idle == ConversationDetails(
            state=TurnState.TURN_STATE_UNSPECIFIED,
            queued=0, asks=0, followers=1, senders=0, events=0, log_bytes=0,
        )  # fmt: skip
        first = send(talk, "a secret")
        assert isinstance(await anext(first), ChatToken)
        assert isinstance(await anext(first), AskEvent)
        await begun(send(talk, "a secret", message_id="m"))
        now = details(actor_system, name)
        assert now.state == TurnState.TURN_STATE_WAITING
        assert (now.queued, now.asks, now.followers, now.senders) == (1, 1, 1, 2)
        assert now.events > 0
        assert now.log_bytes > 0
        assert "secret" not in str(now)
