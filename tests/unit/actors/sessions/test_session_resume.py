"""A session and its connections: lost, resumed, taken over, too slow."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest

from actors import (
    ActorSystem,
    DuplexActor,
    Exit,
    RequestActor,
    RequestContext,
    StreamActor,
    Yielded,
)
from actors.protocol.block import frames
from actors.protocol.effects import Limit
from actors.protocol.frames import Ack, Cancel, Inform, Input, Ping, Violation
from actors.protocol.gathering import SEVERAL
from actors.protocol.limits import SessionLimits
from actors.testing import ManualClock, settle
from tests.support.kit import tasks_of_actors
from tests.support.session_kit import Ask, Client, Counting, Sent, Service, Text, client_of


class Echo(RequestActor[Text, Text]):
    async def handle(self, request: Text) -> Text:
        return request


class Waiting(RequestActor[Ask, Text]):
    async def handle(self, request: Ask) -> Text:
        return await self.context.received(Text)


class Ten(StreamActor[Ask, Text]):
    async def handle(self, request: Ask) -> AsyncIterator[Yielded[Text]]:
        for number in range(10):
            yield Text(str(number))


@pytest.fixture
def service(actor_system: ActorSystem) -> Service:
    service = Service(actor_system)
    service.registry.register(Text, Echo)
    service.registry.register(Ask, Waiting)
    return service


async def lost(client: Client) -> None:
    client.detach(1006)
    await settle()


# -- away and back -------------------------------------------------------------------------------


async def test_requests_go_on_while_nobody_is_there(service: Service) -> None:
    client = await service.open()
    client.request(Ask())
    client.send(Inform(1, Text("answered")))
    client.request(Text("b"))
    await lost(client)
    assert await client.read() == []
    assert await client.attach(0)
    assert client.attached is not None
    assert (client.attached.resumed, client.attached.last_request_id) == (True, 2)
    assert sorted(frame.said for frame in await client.read()) == ["answered", "b"]
    client.check()
    assert service.books.session_events == ["left", "resumed"]


async def test_what_comes_over_a_connection_that_was_lost_is_dropped(service: Service) -> None:
    client = await service.open()
    await lost(client)
    client.request(Text("late"))
    assert await client.attach(0)
    assert await client.read() == []
    assert client.attached is not None
    assert client.attached.last_request_id == 0


async def test_at_the_end_of_the_window_all_is_cancelled(
    service: Service, manual_clock: ManualClock
) -> None:
    client = await service.open()
    client.request(Ask())
    await lost(client)
    window = service.environment.limits.resume_window
    await manual_clock.advance(window - 0.1)
    assert client.ref.alive
    await manual_clock.advance(0.2)
    assert (await client.ref.join()).exit is Exit.NORMAL
    assert tasks_of_actors() == 0
    assert service.books.session_events == ["left", "ended away"]


async def test_a_client_that_comes_back_in_time_has_a_whole_window_again(
    service: Service, manual_clock: ManualClock
) -> None:
    client = await service.open()
    window = service.environment.limits.resume_window
    for _ in range(3):
        await lost(client)
        await manual_clock.advance(window * 0.9)
        assert await client.attach(0)
        await manual_clock.advance(window * 2)
        assert client.ref.alive


@pytest.mark.parametrize(
    ("code", "by_service", "alive"),
    [(1000, False, False), (1001, False, True), (4003, True, True), (4505, True, False)],
)
async def test_how_the_connection_ended_says_whether_the_session_has(
    service: Service, code: int, by_service: bool, alive: bool
) -> None:
    client = await service.open()
    client.detach(code, by_service=by_service)
    await settle()
    assert client.ref.alive is alive


async def test_a_violation_ends_the_session_before_the_next_frame(service: Service) -> None:
    client = await service.open()
    client.request(Ask())
    client.send(Violation(4500, "broken"))
    client.request(Text("behind it"))
    assert [frame.said for frame in await client.read()] == ["!CANCELLED"]
    assert client.connection.closed == (4500, "broken")
    assert not client.ref.alive


async def test_a_connection_that_is_being_closed_is_heard_no_more(
    actor_system: ActorSystem,
) -> None:
    service = Service(actor_system, SessionLimits(resume_buffer_messages=2))
    service.registry.register(Text, Echo)
    client = await service.open()
    for number in range(20):
        client.send(Ping(number))
    client.request(Text("behind it"))
    await settle()
    assert client.connection.closed is not None
    assert client.connection.closed[0] == 4002
    assert [frame.said for frame in await client.read()] == [f"pong {it}" for it in range(8)]
    client.detach(4002, by_service=True)
    assert await client.attach(0)
    assert client.attached is not None
    assert client.attached.last_request_id == 0


async def test_a_gap_ends_the_session(service: Service) -> None:
    client = await service.open()
    client.request(Text("a"))
    client.request(Ask())
    await client.read()
    await lost(client)
    assert not await client.attach(7)
    assert (await client.ref.join()).exit is Exit.NORMAL
    assert tasks_of_actors() == 0
    assert service.books.session_events == ["left", "not resumed", "ended away"]


async def test_a_gap_on_a_take_over_closes_the_first_too(service: Service) -> None:
    client = await service.open()
    first = client.connection
    assert not await client.attach(7)
    assert first.closed is not None
    assert first.closed[0] == 4504
    assert service.books.session_events == ["not resumed"]


async def test_no_connection_is_attached_for_a_client_that_has_gone(service: Service) -> None:
    client = await service.open()
    attaching = asyncio.create_task(client.attach(0))
    await asyncio.sleep(0)
    attaching.cancel()
    await settle()
    assert client.connection.closed is None
    client.send(Ping(1))
    assert await client.read() == [Sent(0, 0, False, "pong 1")]


# -- take-over -----------------------------------------------------------------------------------


async def test_a_take_over_fences_the_first_connection(service: Service) -> None:
    client = await service.open()
    client.request(Text("a"))
    await client.read()
    first, outbox = client.connection, client.attached
    assert outbox is not None
    assert await client.attach(1)
    assert first.closed is not None
    assert first.closed[0] == 4504
    second, client.connection = client.connection, first
    client.request(Text("of the first"))
    client.send(Cancel(1))
    client.detach(1000)  # by the first connection, so the session goes on
    await settle()
    assert client.ref.alive
    client.connection, client.last_id = second, 1
    client.request(Text("of the second"))
    await settle()
    assert outbox.outbox.take(1000) == []
    assert await client.read() == [Sent(2, 2, True, "of the second")]
    assert service.books.session_events == ["taken over"]


# -- room ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("acknowledges", [True, False])
async def test_a_stream_stops_at_a_full_buffer_while_nobody_is_there(
    actor_system: ActorSystem, acknowledges: bool
) -> None:
    service = Service(actor_system, SessionLimits(resume_buffer_messages=4))
    service.registry.register(Ask, Ten)
    client = await service.open(acknowledges=acknowledges)
    client.request(Ask())
    await lost(client)
    assert await client.attach(0)
    while not client.received or not client.received[-1].end:
        assert await client.read()
        client.send(Ack(client.last_sequence))
    client.check()
    assert [frame.said for frame in client.received] == [*map(str, range(10)), "completed"]


async def test_memory_is_bounded_while_nobody_is_there(
    actor_system: ActorSystem,
) -> None:
    limits = SessionLimits(resume_buffer_bytes=10_000, outbox_bytes=10_000)
    service = Service(actor_system, limits)
    service.registry.register(Text, Counting)
    client = await service.open()
    client.request(Text())
    await lost(client)
    pulls = Counting.pulls
    await settle()
    assert Counting.pulls == pulls
    assert await client.attach(0)
    held = sum(map(len, client.take(1 << 30)))
    assert 10_000 <= held < 10_000 + 100


# -- slow consumers ------------------------------------------------------------------------------


async def test_a_client_that_never_acknowledges_is_closed_with_4002_and_may_come_back(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    service = Service(actor_system, SessionLimits(resume_buffer_messages=4))
    service.registry.register(Ask, Ten)
    client = await service.open(acknowledges=True)
    client.request(Ask())
    await client.read()
    closings = [client.connection.closed]
    for seconds in (29.9, 4.0):
        await manual_clock.advance(seconds)
        closings.append(client.connection.closed)
    assert closings[:2] == [None, None]
    assert closings[2] is not None
    assert closings[2][0] == 4002
    client.detach(4002, by_service=True)
    await settle()
    assert await client.attach(client.last_sequence)
    assert [frame.said for frame in await client.read()] == ["4", "5", "6", "7"]


async def test_a_client_that_acknowledges_no_refusals_is_closed_with_4002_too(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    service = Service(actor_system, SessionLimits(resume_buffer_messages=4))
    client = await service.open(acknowledges=True)
    for _ in range(4):
        client.request(None)
    assert [frame.said for frame in await client.read()] == ["!UNIMPLEMENTED"] * 4
    await manual_clock.advance(service.environment.limits.slow_consumer + 4.0)
    assert client.connection.closed is not None
    assert client.connection.closed[0] == 4002


async def test_an_acknowledgement_now_and_then_is_enough(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    service = Service(actor_system, SessionLimits(resume_buffer_messages=4))
    service.registry.register(Ask, Ten)
    client = await service.open(acknowledges=True)
    client.request(Ask())
    for sequence in range(1, 12):
        await client.read()
        await manual_clock.advance(25.0)
        client.send(Ack(sequence))
    await client.read()
    await manual_clock.advance(100.0)
    assert client.connection.closed is None
    client.check()


async def test_a_client_that_acknowledges_no_ends_is_closed_with_4002_too(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    service = Service(actor_system, SessionLimits(resume_buffer_messages=4))
    service.registry.register(Text, Echo)
    client = await service.open(acknowledges=True)
    for _ in range(6):
        client.request(Text("x"))
    assert len(await client.read()) == 6
    await manual_clock.advance(34.0)
    assert client.connection.closed is not None
    assert client.connection.closed[0] == 4002


# -- limits --------------------------------------------------------------------------------------


async def test_a_request_sent_after_the_advised_time_is_admitted(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    service = Service(actor_system, SessionLimits(messages_per_second=8.0, message_burst=1))
    service.registry.register(Text, Echo)
    client = await service.open()
    client.request(Text("a"))
    client.request(Text("b"))
    await manual_clock.advance(0.125)
    client.request(Text("c"))
    said = [frame.said for frame in await client.read()]
    assert sorted(said) == ["!RESOURCE_EXHAUSTED retryable", "a", "c"]
    assert service.books.limits == [Limit.MESSAGES]


async def test_a_deadline_at_the_moment_of_the_end_makes_one_end(
    service: Service, manual_clock: ManualClock
) -> None:
    client = await service.open()
    for number in range(1, 21):
        client.request(Ask(), timeout_ms=50)
        await settle()
        # The message arrives 1 to 20 ms after the timeout: before or after the deadline's tick.
        last = partial(client.send, Inform(number, Text("done")))
        manual_clock.call_later(0.05 + 0.001 * number, last)
        await manual_clock.advance(0.1)
    await client.read()
    client.check()
    assert {frame.said for frame in client.received} == {"done", "!DEADLINE_EXCEEDED"}


# -- streams with many answers ---------------------------------------------------------------------


class Several(StreamActor[Text, Text]):
    """Yields enough answers in one turn that they wait for more, and never ends."""

    async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
        for number in range(SEVERAL):
            yield Text(f"{number}")
        await asyncio.Event().wait()


async def test_a_connection_that_need_not_hurry_is_woken_again_in_place_of_a_take(
    actor_system: ActorSystem,
) -> None:
    client = await client_of(Service(actor_system), Several)
    assert client.attached is not None
    outbox, connection = client.attached.outbox, client.connection
    client.request(Text())
    await settle()
    woken = connection.wakes
    assert outbox.take(1 << 20, lambda: 0.0) == []
    assert connection.wakes == woken + 1
    assert len(list(frames(outbox.take(1 << 20, lambda: 0.0)))) == SEVERAL, "nothing more came"
    client.request(Text())
    await settle()
    assert len(list(frames(outbox.take(1 << 20)))) == SEVERAL, "nobody asked whether it hurries"


# -- what the client understands -----------------------------------------------------------------


class Telling(RequestActor[Ask, Text]):
    """Says what its client understands, first and once the client has said something."""

    async def handle(self, request: Ask) -> Text:
        before = sorted(self.context.features)
        await self.context.received(Text)
        return Text(f"{before} {sorted(self.context.features)}")


async def test_the_features_are_those_of_the_newest_hello(actor_system: ActorSystem) -> None:
    """A request sees what the client that resumes its session understands, not who opened it."""
    service = Service(actor_system)
    service.registry.register(Ask, Telling)
    client = await service.open()
    client.request(Ask())
    await lost(client)
    client.features = frozenset({"follow"})
    assert await client.attach(0)
    client.send(Inform(1, Text()))
    assert await client.said(1) == ["[] ['follow']"]
    client.request(Ask())
    client.send(Inform(2, Text()))
    assert await client.said(2) == ["['follow'] ['follow']"]


async def test_inputs_may_come_again_on_another_connection(actor_system: ActorSystem) -> None:
    """A client cannot know which inputs arrived; what it sends again is not metered."""

    class Joining(DuplexActor[Ask, Text, Text]):
        async def handle(self, request: Ask, inputs: AsyncIterator[Text]) -> AsyncIterator[Text]:
            yield Text("".join([item.text async for item in inputs]))

    service = Service(actor_system, SessionLimits(messages_per_second=1.0, message_burst=1))
    service.registry.register_duplex(Ask, Text, Joining)
    client = await service.open()
    client.request(Ask())
    for connection in range(3):
        if connection:
            await lost(client)
            assert await client.attach(0)
        for number in range(1, 9):
            client.send(Inform(1, Input(number, Text(str(number)), last=False)))
        await settle()
    client.send(Inform(1, Input(9, None, last=True)))
    assert (await client.said(1))[-2:] == ["12345678", "completed"]
    client.check()


async def test_who_cannot_resume_changes_no_features(actor_system: ActorSystem) -> None:
    """A connection that does not get the session does not change what its requests see."""
    contexts: list[RequestContext] = []

    class Noting(RequestActor[Text, Text]):
        async def handle(self, request: Text) -> Text:
            contexts.append(self.context)
            return request

    client = await client_of(Service(actor_system), Noting)
    client.request(Text())
    await client.read()
    client.features = frozenset({"follow"})
    assert not await client.attach(100)
    assert contexts[0].features == frozenset()
