"""The stall timeout ends streams that opt in and whose clients take none of their answers."""

from collections.abc import AsyncIterator

import pytest

from actors import ActorSystem, StreamActor, Yielded
from actors.protocol.frames import Ack, Credit
from actors.protocol.limits import SessionLimits
from actors.testing import ManualClock, settle
from tests.support.session_kit import Client, Service, Text, decode

STALLED = "!RESOURCE_EXHAUSTED retryable"
SLOW = SessionLimits().slow_consumer


class Endless(StreamActor[Text, Text]):
    """Streams without end, and opts in to the stall timeout."""

    ends_if_stalled = True
    closed = 0

    async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
        try:
            while True:
                yield Text("more")
        finally:
            Endless.closed += 1


class Patient(Endless):
    """Does not opt in to the stall timeout."""

    ends_if_stalled = False


class Asked(Endless):
    """Says whether its stalled client holds anything up."""

    holding = False

    def holds_up(self) -> bool:
        return Asked.holding


class Few(Endless):
    """Ends after 20 answers."""

    async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
        for _ in range(20):
            yield Text("more")


async def opened(service: Service, kind: type[Endless], **how: bool | int) -> Client:
    """Open a session that runs a stream of this kind."""
    service.registry.register(Text, kind)
    client = await service.open(**how)  # type: ignore[arg-type]  # the keywords of `open`
    client.request(Text())
    await client.read()
    return client


async def test_a_stream_whose_credit_is_never_raised_ends(
    service: Service, manual_clock: ManualClock
) -> None:
    client = await opened(service, Endless, initial_credit=1)
    closed = Endless.closed
    await manual_clock.advance(SLOW - 0.1)
    assert await client.said(1) == ["more"]
    await manual_clock.advance(0.2)
    assert await client.said(1) == ["more", STALLED]
    assert Endless.closed == closed + 1
    client.check()


async def test_a_stalled_stream_that_holds_nothing_up_goes_on(
    service: Service, manual_clock: ManualClock
) -> None:
    Asked.holding = False
    client = await opened(service, Asked, initial_credit=1)
    await manual_clock.advance(10 * SLOW)
    client.send(Credit(1, 2))
    assert await client.said(1) == ["more", "more"]
    await manual_clock.advance(2 * SLOW)
    Asked.holding = True
    await manual_clock.advance(SLOW / 8 + 0.1)
    assert await client.said(1) == ["more", "more", STALLED]


async def test_a_stream_that_does_not_opt_in_waits_for_credit(
    service: Service, manual_clock: ManualClock
) -> None:
    client = await opened(service, Patient, initial_credit=1)
    await manual_clock.advance(100 * SLOW)
    assert await client.said(1) == ["more"]


async def test_a_client_that_reads_slowly_keeps_its_stream(
    service: Service, manual_clock: ManualClock
) -> None:
    client = await opened(service, Endless, initial_credit=1)
    for limit in range(2, 10):
        await manual_clock.advance(SLOW * 0.9)
        client.send(Credit(1, limit))
        assert len(await client.said(1)) == limit
    await manual_clock.advance(SLOW + 0.1)
    assert (await client.said(1))[-1] == STALLED


async def test_the_time_a_client_is_away_does_not_count(
    service: Service, manual_clock: ManualClock
) -> None:
    client = await opened(service, Endless, initial_credit=1)
    await manual_clock.advance(SLOW / 2)
    client.detach(1006)
    await manual_clock.advance(2 * SLOW)
    assert await client.attach(client.last_sequence)
    await manual_clock.advance(SLOW / 2 - 0.1)
    assert await client.said(1) == ["more"]
    await manual_clock.advance(SLOW / 4)
    assert await client.said(1) == ["more", STALLED]


async def test_coming_back_again_and_again_does_not_begin_the_time_anew(
    service: Service, manual_clock: ManualClock
) -> None:
    client = await opened(service, Endless, initial_credit=1)
    for _ in range(12):
        await manual_clock.advance(SLOW / 8)
        client.detach(1006)
        assert await client.attach(client.last_sequence)
    assert await client.said(1) == ["more", STALLED]


async def test_acknowledging_slowly_is_progress_for_every_stream(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    service = Service(actor_system, SessionLimits(resume_buffer_messages=4))
    service.registry.register(Text, Few)
    client = await service.open(acknowledges=True)
    for _ in range(5):
        client.request(Text())
    acknowledged = 0
    while client.last_sequence < 5 * 21:
        await client.read()
        await manual_clock.advance(SLOW * 0.9)
        acknowledged += 1
        client.send(Ack(acknowledged))
    said = [frame.said for frame in client.received]
    assert said.count("completed") == 5
    assert STALLED not in said


class Filling(Endless):
    """Fills the send queue with large answers."""

    async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
        while True:
            yield Text("x" * 1024)


async def test_reading_a_little_is_progress_though_there_is_no_room_yet(
    service: Service, manual_clock: ManualClock
) -> None:
    service.registry.register(Text, Filling)
    client = await service.open()
    client.request(Text())
    await settle()
    for _ in range(6):
        await manual_clock.advance(SLOW / 2)
        (taken,) = client.take(1)
        assert decode(taken).said == "x" * 1024
        assert client.attached is not None
        assert client.attached.outbox._session.machine.is_open(1)
    await manual_clock.advance(1.5 * SLOW)
    assert (await client.said(1))[-1] == STALLED


@pytest.fixture
def service(actor_system: ActorSystem) -> Service:
    return Service(actor_system)
