import pytest

from actors import ActorSystem, Exit, RequestActor
from actors.protocol.frames import Ping
from actors.sessions.session_supervisor import AllSessions, OpenSession
from actors.testing import ManualClock, settle
from tests.support.session_kit import Service, Text


class Waiting(RequestActor[Text, Text]):
    """Answers with the next message from the client."""

    async def handle(self, request: Text) -> Text:
        return await self.context.received(Text)


async def test_a_session_is_found_by_its_resume_token_and_by_no_other(
    actor_system: ActorSystem,
) -> None:
    service = Service(actor_system)
    one, two = await service.open(), await service.open()
    token = one.opened.resume_token
    assert await service.find(token) is one.opened
    assert await service.find(two.opened.resume_token) is two.opened
    for wrong in (b"", token[:8], token[:-1], token + b"x", token[:8] + bytes(24), bytes(32)):
        assert await service.find(wrong) is None


@pytest.mark.parametrize("how", ["closed", "crashed", "window"])
async def test_a_session_that_has_ended_is_found_no_more(
    actor_system: ActorSystem, manual_clock: ManualClock, how: str
) -> None:
    service = Service(actor_system)
    client = await service.open()
    match how:
        case "closed":
            client.detach(1000)
        case "crashed":
            client.send(Ping(2**64))  # too large to encode
        case _:
            client.detach(1006)
            await manual_clock.advance(service.environment.limits.resume_window + 0.1)
    await settle()
    assert await service.find(client.opened.resume_token) is None


async def test_sessions_are_limited_and_one_that_ends_makes_room(
    actor_system: ActorSystem,
) -> None:
    service = Service(actor_system, at_most=2)
    _, two = await service.open(), await service.open()
    assert await service.sessions.ask(OpenSession, timeout=1.0) is None
    two.detach(1000)
    await two.ref.join()
    assert await service.sessions.ask(OpenSession, timeout=1.0) is not None


async def test_the_session_that_has_waited_longest_for_its_client_makes_room(
    actor_system: ActorSystem,
) -> None:
    service = Service(actor_system, at_most=3)
    clients = [await service.open() for _ in range(3)]
    for number in (1, 0):
        clients[number].detach(1006)
    await settle()
    new = await service.open()
    await settle()
    assert not clients[1].ref.alive, "the one that left first"
    assert clients[0].ref.alive
    assert await service.find(clients[1].opened.resume_token) is None
    await service.open()
    assert await service.sessions.ask(OpenSession, timeout=1.0) is None, "all have a connection"
    assert new.ref.alive


async def test_one_with_nothing_running_makes_room_before_one_with_a_request(
    actor_system: ActorSystem,
) -> None:
    service = Service(actor_system, at_most=2)
    service.registry.register(Text, Waiting)
    busy, idle = await service.open(), await service.open()
    busy.request(Text("go"))
    await settle()
    for client in (busy, idle):
        client.detach(1006)
    await settle()
    await service.open()
    await settle()
    assert (busy.ref.alive, idle.ref.alive) == (True, False)
    await service.open()
    await settle()
    assert not busy.ref.alive, "nobody is locked out by clients that have gone"


async def test_a_thousand_clients_that_come_and_go_lock_nobody_out(
    actor_system: ActorSystem,
) -> None:
    service = Service(actor_system, at_most=10)
    for _ in range(1000):
        client = await service.open()
        client.detach(1006)
        await settle()
    sessions = await service.sessions.ask(AllSessions, timeout=1.0)
    assert len(sessions) == 10
    assert await service.open()


async def test_a_session_whose_client_came_back_does_not_make_room(
    actor_system: ActorSystem,
) -> None:
    service = Service(actor_system, at_most=1)
    client = await service.open()
    client.detach(1006)
    await settle()
    assert await client.attach(0)
    assert await service.sessions.ask(OpenSession, timeout=1.0) is None
    assert client.ref.alive


async def test_all_sessions_include_those_without_a_connection(
    actor_system: ActorSystem,
) -> None:
    service = Service(actor_system)
    clients = [await service.open() for _ in range(3)]
    clients[1].detach(1006)
    clients[2].detach(1000)
    await clients[2].ref.join()
    found = await service.sessions.ask(AllSessions, timeout=1.0)
    assert found == [clients[0].ref, clients[1].ref]


async def test_a_session_that_no_connection_claims_ends(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    service = Service(actor_system)
    opened = await service.sessions.ask(OpenSession, timeout=1.0)
    assert opened is not None
    await manual_clock.advance(service.environment.limits.resume_window + 0.1)
    assert (await opened.ref.join()).exit is Exit.NORMAL
    assert service.books.session_events == []
