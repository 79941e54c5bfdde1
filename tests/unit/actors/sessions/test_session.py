import asyncio
from collections.abc import AsyncIterator

import pytest

from actors import (
    ActorSystem,
    AskCrashed,
    Code,
    Crashed,
    Event,
    Exit,
    Failure,
    Reply,
    RequestActor,
    StreamActor,
    Tally,
    Yielded,
)
from actors.protocol.effects import Limit
from actors.protocol.frames import Cancel, Credit, Inform, Ping, Request, Violation
from actors.protocol.limits import SessionLimits
from actors.sessions.messages import Attach, Attached, Outbox
from actors.sessions.session_supervisor import Opened, OpenSession
from actors.testing import ManualClock, settle
from tests.support.kit import Boom, tasks_of_actors
from tests.support.session_kit import Ask, Client, FakeConnection, Sent, Service, Text


class Echo(RequestActor[Text, Text]):
    """Repeats the request, and crashes on "crash"."""

    async def handle(self, request: Text) -> Text:
        if request.text == "crash":
            raise Boom
        return request


class Waiting(RequestActor[Ask, Text]):
    """Answers with the next message from the client."""

    async def handle(self, request: Ask) -> Text:
        return await self.context.received(Text)


@pytest.fixture
def service(actor_system: ActorSystem) -> Service:
    service = Service(actor_system)
    service.registry.register(Text, Echo)
    service.registry.register(Ask, Waiting)
    return service


# -- opening and closing -------------------------------------------------------------------------


async def test_each_session_has_its_own_ids_and_sequence(service: Service) -> None:
    one, two = await service.open(), await service.open()
    assert (one.opened.name, two.opened.name) == ("s1", "s2")
    one.request(Text("a"))
    two.request(Text("b"))
    two.request(Text("c"))
    assert await one.read() == [Sent(1, 1, True, "a")]
    assert await two.read() == [Sent(1, 1, True, "b"), Sent(2, 2, True, "c")]


async def test_no_session_is_made_for_an_asker_that_has_gone(
    service: Service, actor_system: ActorSystem
) -> None:
    gone: asyncio.Future[Opened | None] = asyncio.get_running_loop().create_future()
    gone.cancel()
    service.sessions.tell(OpenSession(Reply(gone)))
    await settle()
    assert actor_system.snapshot().children[0].children == ()


async def test_a_session_ignores_a_take_over_whose_asker_has_gone(service: Service) -> None:
    client = await service.open()
    gone: asyncio.Future[Attached | None] = asyncio.get_running_loop().create_future()
    gone.cancel()
    client.ref.tell(Attach(FakeConnection(), 0, 0, False, Reply(gone)))
    client.send(Ping(1))
    assert await client.read() == [Sent(0, 0, False, "pong 1")]
    assert client.connection.closed is None  # the session was not taken over


async def test_the_connection_is_woken_for_output_and_not_without(service: Service) -> None:
    client = await service.open()
    client.connection.wakes = 0
    client.send(Cancel(1))
    await settle()
    assert client.connection.wakes == 0
    client.send(Ping(1))
    await settle()
    assert client.connection.wakes == 1


async def test_an_outbox_says_whether_it_has_more_until_another_replaces_it(
    service: Service,
) -> None:
    def outbox(client: Client) -> Outbox:
        assert client.attached is not None
        return client.attached.outbox

    client = await service.open()
    first = outbox(client)
    told = [first.has_more]
    client.request(Text("a"))
    client.request(Text("b"))
    await settle()
    told.append(first.has_more)
    assert len(first.take(0)) == 1
    told.append(first.has_more)
    assert told == [False, True, True]
    assert await client.attach(0)
    second = outbox(client)
    assert (first.has_more, second.has_more) == (False, True), "the second has it all"
    assert [frame.said for frame in await client.read()] == ["a", "b"]
    assert not second.has_more


async def test_what_was_said_without_a_connection_waits_for_one(service: Service) -> None:
    client = await service.open()
    client.request(Text("early"))
    client.detach(1006)
    assert await client.read() == []
    assert await client.attach(0)
    assert await client.said(1) == ["early"]


async def test_the_end_of_the_connection_ends_session_and_requests(
    service: Service, actor_system: ActorSystem
) -> None:
    client, other = await service.open(), await service.open()
    for _ in range(10):
        client.request(Ask())
    other.request(Ask())
    await settle()
    client.detach()
    down = await client.ref.join()
    assert down.exit is Exit.NORMAL
    assert tasks_of_actors() == 1
    other.send(Inform(1, Text("still here")))
    assert await other.said(1) == ["still here"]
    assert service.environment.registry.by_message[Ask].running == 0


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (Request(0, 0, Text()), 4500),
        (Request(1, 0, Text()), 4500),
        (Violation(1003, "text frame"), 1003),
    ],
)
async def test_a_violation_closes_the_connection(
    service: Service, frame: Request | Violation, code: int
) -> None:
    client = await service.open()
    client.request(Text())
    client.send(frame)
    await settle()
    assert client.connection.closed is not None
    assert client.connection.closed[0] == code


async def test_a_violation_without_a_connection_is_harmless(service: Service) -> None:
    client = await service.open()
    client.detach()
    client.send(Violation(1003, "late"))
    await settle()
    assert client.connection.closed is None


# -- many requests -------------------------------------------------------------------------------


async def test_requests_run_beside_each_other(service: Service) -> None:
    client = await service.open()
    slow, quick = client.request(Ask()), client.request(Text("quick"))
    assert await client.read() == [Sent(quick, 1, True, "quick")]
    client.send(Inform(slow, Text("slow")))
    assert await client.read() == [Sent(slow, 2, True, "slow")]
    client.check()


async def test_an_unknown_request_is_unimplemented(service: Service) -> None:
    class Other(Text):
        pass

    client = await service.open()
    client.request(None)
    client.request(Other())
    assert [frame.said for frame in await client.read()] == ["!UNIMPLEMENTED"] * 2
    client.check()


async def test_a_hundred_crash_beside_a_hundred_that_do_not(
    service: Service, actor_system: ActorSystem, actor_events: list[Event]
) -> None:
    client = await service.open()
    for number in range(100):
        client.request(Text("crash"))
        client.request(Text(f"good {number}"))
    await client.read()
    client.check()
    said = {frame.request_id: frame.said for frame in client.received}
    assert [said[2 * number + 1] for number in range(100)] == ["!INTERNAL"] * 100
    assert [said[2 * number + 2] for number in range(100)] == [
        f"good {number}" for number in range(100)
    ]
    session = actor_system.snapshot().children[0].children[0]
    assert session.tally == Tally(started=200, stopped=200, crashed=100)
    assert session.state == "running"
    assert len([event for event in actor_events if isinstance(event, Crashed)]) == 100
    assert tasks_of_actors() == 0


async def test_requests_in_flight_are_limited(actor_system: ActorSystem) -> None:
    service = Service(actor_system, SessionLimits(max_requests_in_flight=3))
    service.registry.register(Ask, Waiting)
    client = await service.open()
    for _ in range(5):
        client.request(Ask())
    assert await client.read() == [
        Sent(4, 1, True, "!RESOURCE_EXHAUSTED retryable"),
        Sent(5, 2, True, "!RESOURCE_EXHAUSTED retryable"),
    ]
    client.send(Cancel(2))
    await settle()
    client.request(Ask())
    client.send(Inform(6, Text("in")))
    assert await client.said(6) == ["in"]
    for request_id in (1, 3):
        client.send(Cancel(request_id))
    await client.read()
    client.check()


async def test_an_actor_type_limits_itself_across_sessions(actor_system: ActorSystem) -> None:
    class Two(Waiting):
        at_most = 2

    service = Service(actor_system)
    service.registry.register(Ask, Two)
    one, two = await service.open(), await service.open()
    one.request(Ask())
    two.request(Ask())
    await settle()
    one.request(Ask())
    two.request(Ask())
    busy = "!RESOURCE_EXHAUSTED retryable"
    assert await one.read() == [Sent(2, 1, True, busy)]
    assert await two.read() == [Sent(2, 1, True, busy)]
    one.send(Cancel(1))
    await settle()
    two.request(Ask())
    two.send(Inform(3, Text("in")))
    assert await two.said(3) == ["in"]
    one.detach()
    two.detach()
    await settle()
    three = await service.open()
    three.request(Ask())
    three.request(Ask())
    assert await three.read() == []


async def test_one_slow_stream_holds_up_no_other(actor_system: ActorSystem) -> None:
    class Endless(StreamActor[Ask, Text]):
        async def handle(self, request: Ask) -> AsyncIterator[Yielded[Text]]:
            while True:
                yield Text("x")

    service = Service(actor_system)
    service.registry.register(Ask, Endless)
    service.registry.register(Text, Echo)
    client = await service.open(initial_credit=2)
    client.request(Ask())
    client.request(Ask())
    client.request(Text("y"))
    client.send(Credit(2, 5))
    await client.read()
    assert [len(await client.said(number)) for number in (1, 2, 3)] == [2, 5, 1]


# -- drain and failure ---------------------------------------------------------------------------


async def test_a_draining_session_lets_requests_end_and_takes_no_more(service: Service) -> None:
    client = await service.open()
    client.request(Ask())
    await settle()
    drained = client.drain("update", 700)
    await settle()
    client.request(Text("late"))
    assert await client.read() == [
        Sent(0, 0, False, "going away update 700"), Sent(2, 1, True, "!UNAVAILABLE retryable")
    ]  # fmt: skip
    assert not drained.done()
    client.send(Inform(1, Text("done")))
    assert await client.said(1) == ["done"]
    await drained
    client.check()


async def test_an_idle_session_is_drained_at_once(service: Service) -> None:
    client = await service.open()
    await client.drain()


async def test_a_drain_is_over_with_the_session(service: Service) -> None:
    client = await service.open()
    client.request(Ask())
    await settle()
    drained = client.drain()
    await settle()
    client.detach()
    await drained
    assert not client.ref.alive


async def test_failing_all_ends_every_request_with_that_failure(
    service: Service, manual_clock: ManualClock
) -> None:
    client = await service.open()
    for _ in range(20):
        client.request(Ask())
    await settle()
    drained = client.drain()
    await client.fail_all(Failure(Code.UNAVAILABLE, "bye", retryable=True))
    await drained
    said = [frame.said for frame in await client.read() if frame.request_id]
    assert said == ["!UNAVAILABLE retryable"] * 20
    client.check()
    assert tasks_of_actors() == 0
    assert manual_clock.now() == 0.0


# -- beyond the limit ----------------------------------------------------------------------------


class Stopping(RequestActor[Text, Text]):
    """Answers at once, however much the session has in flight."""

    beyond_limit = True

    def handle(self, request: Text) -> Text:
        return request


class StoppingLater(RequestActor[Text, Text]):
    """Does not end before the client says so."""

    beyond_limit = True

    async def handle(self, request: Text) -> Text:
        return await self.context.received(Text)


@pytest.mark.parametrize("stop", [Stopping, StoppingLater])
async def test_a_session_at_its_limit_still_runs_an_exempt_request(
    actor_system: ActorSystem, stop: type[RequestActor[Text, Text]]
) -> None:
    """A request whose actor type is exempt is answered while all others are refused."""
    service = Service(actor_system, SessionLimits(max_requests_in_flight=2))
    service.registry.register(Ask, Waiting)
    service.registry.register(Text, lambda: stop())
    client = await service.open()
    for _ in range(3):
        client.request(Ask())
    stopping = client.request(Text("stop"))
    client.send(Inform(stopping, Text("stop")))
    assert await client.said(3) == ["!RESOURCE_EXHAUSTED retryable"]
    assert await client.said(stopping) == ["stop"]
    assert await client.said(1) == await client.said(2) == []
    assert service.books.limits == [Limit.IN_FLIGHT]


# -- the session itself --------------------------------------------------------------------------


async def test_a_session_that_crashes_takes_its_requests_along_and_no_other_session(
    service: Service, actor_system: ActorSystem, actor_events: list[Event]
) -> None:
    client, other = await service.open(), await service.open()
    client.request(Ask())
    await settle()
    drained = client.drain()
    await settle()
    client.send(Ping(2**64))  # too large to encode
    down = await client.ref.join()
    assert down.exit is Exit.CRASHED
    with pytest.raises(AskCrashed):
        await drained
    other.request(Text("fine"))
    assert await other.said(1) == ["fine"]
    assert tasks_of_actors() == 0
    assert actor_system.snapshot().children[0].tally == Tally(started=2, stopped=1, crashed=1)


async def test_requests_that_take_their_time_to_end_do_so_together(
    actor_system: ActorSystem,
) -> None:
    told: list[int] = []
    gate = asyncio.Event()

    class Tidying(RequestActor[Ask, Text]):
        async def handle(self, request: Ask) -> Text:
            try:
                return await self.context.received(Text)
            finally:
                told.append(self.context.request_id)
                await gate.wait()

    service = Service(actor_system)
    service.registry.register(Ask, Tidying)
    client = await service.open()
    for _ in range(3):
        client.request(Ask())
    await settle()
    client.detach()
    await settle()
    assert sorted(told) == [1, 2, 3]
    assert tasks_of_actors() == 4
    gate.set()
    await client.ref.join()


async def test_a_stop_of_the_system_ends_all_sessions_at_once(
    service: Service, actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    clients = [await service.open() for _ in range(20)]
    for client in clients:
        for _ in range(5):
            client.request(Ask())
    await settle()
    await actor_system.stop()
    assert manual_clock.now() == 0.0
    assert tasks_of_actors() == 0
