"""A status takes a look at every actor, so none is made for a client that does not read."""

from datetime import UTC, datetime

from actors import Lifecycle, Registry
from actors.protocol.block import frames
from actors.protocol.frames import Request
from actors.protocol.limits import SessionLimits
from actors.runtime.ask import Reply
from actors.sessions.messages import Attach, Attached, Received, SessionEnvironment
from actors.sessions.session_supervisor import OpenSession, Sessions
from actors.testing import ManualClock, running_system, settle
from callboard.v1.system_pb2 import ServiceStatusRequest
from callboard_service import status
from callboard_service.backends.echo.backend import EchoBackend
from callboard_service.health import Outages, ServiceHealth
from callboard_service.metrics import Metrics
from tests.support.session_kit import Books, FakeConnection, NoLog
from transport.wire.codec import Wire

ASKED = 200
LIMITS = SessionLimits(messages_per_second=0, outbox_bytes=100)


async def test_no_status_is_made_for_a_client_that_does_not_read() -> None:
    looks = 0

    def connections() -> int:
        nonlocal looks
        looks += 1
        return 0

    clock, registry = ManualClock(), Registry()
    backend = EchoBackend(lambda line: None)
    connection = FakeConnection()

    def attach(reply: Reply[Attached | None]) -> Attach:
        return Attach(connection, None, 0, False, reply)

    async with running_system(clock) as system:
        subject = status.Subject(
            version="1",
            started_at=datetime.now(UTC),
            backend=backend,
            system=system,
            health=ServiceHealth(backend, Outages("system", clock)),
            registry=registry,
            metrics=Metrics(),
            connections=connections,
        )
        status.register(registry, subject)
        environment = SessionEnvironment(registry, LIMITS, Wire(registry).encode, NoLog(), Books())
        sessions = system.spawn(
            lambda: Sessions(environment, lambda: "s", lambda: bytes(32), 1),
            name="sessions",
            lifecycle=Lifecycle(),
        )
        opened = await sessions.ask(OpenSession, timeout=1.0)
        assert opened is not None
        attached = await opened.ref.ask(attach, timeout=1.0)
        assert attached is not None
        for number in range(1, ASKED + 1):
            opened.ref.tell(Received(connection, Request(number, 0, ServiceStatusRequest()), 10))
        await settle()
        assert looks < 3
        answers = 0
        while taken := attached.outbox.take(100):
            answers += len(list(frames(taken)))
            await settle()
    assert answers == looks == ASKED
