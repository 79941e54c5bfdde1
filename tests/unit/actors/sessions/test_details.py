from collections.abc import AsyncIterator

import pytest

from actors import ActorSystem, RequestActor, SessionDetails, StreamActor, Yielded
from actors.protocol.frames import Ack, Credit
from actors.testing import settle
from tests.support.session_kit import Ask, Client, Service, Text


class Endlessly(StreamActor[Text, Text]):
    """Streams for as long as there is room."""

    async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
        while True:
            yield request


class Waiting(RequestActor[Ask, Text]):
    async def handle(self, request: Ask) -> Text:
        return await self.context.received(Text)


@pytest.fixture
def service(actor_system: ActorSystem) -> Service:
    service = Service(actor_system)
    service.registry.register(Text, Endlessly)
    service.registry.register(Ask, Waiting)
    return service


def details(system: ActorSystem) -> SessionDetails:
    sessions = next(view for view in system.root.children() if view.child_count)
    (session,) = sessions.children()
    found = session.details
    assert isinstance(found, SessionDetails)
    return found


async def test_a_session_shows_its_buffers_and_its_credit(
    service: Service, actor_system: ActorSystem
) -> None:
    client: Client = await service.open(initial_credit=3, acknowledges=True)
    idle = SessionDetails(
        connected=True, requests=0, blocked=0, send_queue=0, send_queue_bytes=0, replay=0,
        replay_bytes=0, held_bytes=0, credit=None, answers=0,
    )  # fmt: skip
    assert details(actor_system) == idle
    stream, _ = client.request(Text("a")), client.request(Ask())
    await settle()
    full = details(actor_system)
    size = full.send_queue_bytes
    assert (full.requests, full.blocked, full.credit) == (2, 1, 0)
    assert (full.send_queue, full.replay, full.answers) == (3, 0, 3)
    assert size > 0
    assert full.held_bytes == size + 20  # and the two requests
    assert len(await client.read()) == 3
    read = details(actor_system)
    assert (read.send_queue, read.send_queue_bytes) == (0, 0)
    assert (read.replay, read.replay_bytes, read.held_bytes) == (3, size, size + 20)
    client.send(Ack(2))
    client.send(Credit(stream, 4))
    await settle()
    more = details(actor_system)
    assert (more.send_queue, more.replay, more.credit, more.answers) == (1, 1, 0, 4)


async def test_a_session_without_its_client_is_not_connected(
    service: Service, actor_system: ActorSystem
) -> None:
    client = await service.open()
    client.request(Ask())
    client.detach(1006)
    await settle()
    away = details(actor_system)
    assert (away.connected, away.requests, away.credit) == (False, 1, None)
