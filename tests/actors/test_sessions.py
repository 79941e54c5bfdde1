import pytest

from actors import ActorSystem, Exit
from actors.frames import Ping
from actors.sessions import AllSessions, OpenSession
from actors.testing import ManualClock, settle
from tests.actors.session_kit import Service


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
            client.send(Ping(2**64))  # what the encoding fails on
        case _:
            client.detach(1006)
            await manual_clock.advance(service.environment.limits.resume_window + 0.1)
    await settle()
    assert await service.find(client.opened.resume_token) is None


async def test_sessions_are_limited_and_one_that_ends_makes_room(
    actor_system: ActorSystem,
) -> None:
    service = Service(actor_system, at_most=2)
    one, two = await service.open(), await service.open()
    one.detach(1006)  # away, and it counts
    assert await service.sessions.ask(OpenSession, timeout=1.0) is None
    two.detach(1000)
    await two.ref.join()
    assert await service.sessions.ask(OpenSession, timeout=1.0) is not None


async def test_all_sessions_are_told_those_without_a_connection_too(
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
    assert service.books.happenings == []
