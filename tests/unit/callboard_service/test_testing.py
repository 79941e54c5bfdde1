"""The test kit for conversations: the real client sends and follows without a socket."""

from collections.abc import AsyncIterator

import pytest

from actors import ActorSystem, Registry
from actors.testing import ManualClock, actor_events, actor_system, manual_clock, serving
from callboard.v1.chat_pb2 import ChatCompleted, ChatToken, CreateSessionRequest, SessionInfo
from callboard_service.testing import register_chat
from transport.client.calls import ClientSettings
from transport.testing import MemoryService

__all__ = ["actor_events", "actor_system", "manual_clock"]

FOLLOWS = ClientSettings(features=("follow",))


@pytest.fixture
async def service(actor_system: ActorSystem) -> AsyncIterator[MemoryService]:
    registry = Registry()
    register_chat(registry)
    service = await MemoryService.start(actor_system, registry)
    yield service
    await service.stop()


async def test_a_follower_whose_connection_is_cut_gets_the_whole_reply(
    service: MemoryService, manual_clock: ManualClock
) -> None:
    async with service.client(FOLLOWS) as sender, service.client(FOLLOWS) as other:
        conversation = (await sender.call(CreateSessionRequest(), SessionInfo)).id
        following = other.follow(conversation)
        events = aiter(following)
        await anext(events)  # the snapshot
        stream = sender.send(conversation, "[[repeat:50]]", detached=True)
        sent = [event.text async for event in stream if isinstance(event, ChatToken)]
        await anext(events)
        service.cut()
        while not any(turn.completed for turn in following.state.turns.values()):
            await manual_clock.until(anext(events))
        (turn,) = following.state.turns.values()
    assert turn.reply == "".join(sent)


async def test_a_message_sent_again_yields_the_same_turn(service: MemoryService) -> None:
    async with service.client(FOLLOWS) as client:
        conversation = (await client.call(CreateSessionRequest(), SessionInfo)).id
        first = [event async for event in client.send(conversation, "a b", message_id="m")]
        again = [event async for event in client.send(conversation, "a b", message_id="m")]
    assert isinstance(again[-1], ChatCompleted)
    texts = ["".join(e.text for e in all_ if isinstance(e, ChatToken)) for all_ in (first, again)]
    assert texts == ["a b", "a b"]


async def test_a_session_without_a_wire_takes_it_too(actor_system: ActorSystem) -> None:
    async with serving(actor_system, register_chat) as calls:
        info = await calls.call(CreateSessionRequest(title="t"), SessionInfo)
    assert info.title == "t"
