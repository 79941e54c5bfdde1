"""Endless requests in their session: what a drain does to them, and who waits for whom."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from actors import (
    ActorSystem,
    DuplexActor,
    EndedBy,
    Failure,
    Message,
    RequestActor,
    StreamActor,
    Yielded,
)
from actors.protocol.frames import Ack, Completed, Inform
from actors.protocol.limits import SessionLimits
from actors.sessions.messages import OnRequestEnd
from actors.testing import ManualClock, settle
from tests.support.session_kit import Ask, Counting, Sent, Service, Text

seen: list[EndedBy | None] = []


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    seen.clear()


class Follow(StreamActor[Text, Text]):
    """Says one thing, and then nothing for ever."""

    endless = True

    async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
        try:
            yield Text("snapshot")
            await asyncio.Event().wait()
        finally:
            seen.append(self.context.ended_by)


class FollowBothWays(DuplexActor[Text, Text, Text]):
    """The same, with inputs."""

    endless = True

    async def handle(self, request: Text, inputs: AsyncIterator[Text]) -> AsyncIterator[Text]:
        try:
            yield Text("snapshot")
            async for item in inputs:
                yield item
        finally:
            seen.append(self.context.ended_by)


class FollowEverything(Counting):
    """Streams numbers for ever, and may be waited for for ever."""

    endless = True


class Waiting(RequestActor[Ask, Text]):
    """Is done when the client says so."""

    async def handle(self, request: Ask) -> Text:
        return await self.context.received(Text)


def service_of(system: ActorSystem, on_request_end: OnRequestEnd | None = None) -> Service:
    limits = SessionLimits(resume_buffer_messages=16)
    service = Service(system, limits, on_request_end=on_request_end)
    service.registry.register(Ask, Waiting)
    return service


@pytest.mark.parametrize("both_ways", [False, True])
async def test_a_drain_waits_for_no_endless_request(
    actor_system: ActorSystem, manual_clock: ManualClock, *, both_ways: bool
) -> None:
    """A drain ends an endless request at once, with the advice of GoingAway."""
    ends: list[Message | Failure | Completed] = []
    service = service_of(actor_system, lambda _, said, first, last: ends.append(said))
    if both_ways:
        service.registry.register_duplex(Text, Text, FollowBothWays)
    else:
        service.registry.register(Text, Follow)
    client = await service.open()
    client.request(Text())
    await client.read()
    await client.drain("update", 700)
    assert await client.read() == [
        Sent(0, 0, False, "going away update 700"), Sent(1, 2, True, "!UNAVAILABLE retryable")
    ]  # fmt: skip
    (failure,) = ends
    assert isinstance(failure, Failure)
    assert (failure.retryable, failure.retry_after_ms) == (True, 700)
    assert seen == [EndedBy.SERVICE]
    assert manual_clock.now() == 0.0
    client.check()


async def test_a_drain_still_waits_for_the_others(actor_system: ActorSystem) -> None:
    """A drain is over only once the requests that are not endless have ended by themselves."""
    service = service_of(actor_system)
    service.registry.register(Text, Follow)
    client = await service.open()
    client.request(Text())
    client.request(Ask())
    await settle()
    drained = client.drain("update", 700)
    await settle()
    client.request(Text())
    assert (await client.said(1))[-1] == (await client.said(3))[-1] == "!UNAVAILABLE retryable"
    assert not drained.done()
    client.send(Inform(2, Text("done")))
    assert await client.said(2) == ["done"]
    await drained
    client.check()


async def test_an_endless_stream_is_pulled_while_its_answers_are_sent(
    actor_system: ActorSystem,
) -> None:
    """It fills the buffer as its answers are sent, then waits for the Ack as any stream does."""
    service = service_of(actor_system)
    service.registry.register(Text, FollowEverything)
    client = await service.open(acknowledges=True)
    client.request(Text())
    assert await client.said(1) == [str(number) for number in range(1, 17)]
    client.send(Ack(3))
    assert await client.said(1) == [str(number) for number in range(1, 20)]
    client.detach()
    await client.ref.join()
