"""A backend that is down is restarted without limit, and its health says why and until when."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from actors import Actor, ActorSystem, ChildGivenUp, Code, Event, Failure, Intensity, Registry
from actors.requests.background import Extensions
from actors.runtime.supervision import Lifecycle
from actors.testing import ManualClock, running_system, settle
from callboard.v1.system_pb2 import ServiceStatusRequest
from callboard_service import status
from callboard_service.backends.echo.backend import EchoBackend
from callboard_service.errors import BackendFailed, OutageTooLong
from callboard_service.health import BACKEND, Outages, ServiceHealth
from callboard_service.metrics import Metrics
from callboard_service.service import BACKEND_LIFECYCLE, STORE_LIFECYCLE

HOUR = 3600.0


class World:
    """Whether a Fragile actor can start (`up`), and when it has tried to."""

    def __init__(self) -> None:
        self.up = True
        self.attempts: list[float] = []


class Fragile(Actor[str]):
    """An actor that starts only while its world is up, and crashes on any message."""

    def __init__(self, world: World) -> None:
        self._world = world

    def started(self) -> None:
        self._world.attempts.append(self.context.clock.now())
        if not self._world.up:
            raise BackendFailed("local: the model's file is broken")

    def receive(self, message: str) -> None:
        raise RuntimeError(message)


class Stage:
    """An actor system with a fragile backend, and the health reported for it."""

    def __init__(self, system: ActorSystem, clock: ManualClock, max_outage: float = 0.0) -> None:
        self.system = system
        self.clock = clock
        self.events: list[Event] = []
        self.ended: list[OutageTooLong] = []
        self.outages = Outages("system", clock, max_outage, self.ended.append)
        self.health = ServiceHealth(Always(), self.outages)
        system.subscribe(self.outages)
        system.subscribe(self.events.append)
        self.world = World()
        self.ref = system.spawn(
            lambda: Fragile(self.world), name=BACKEND, lifecycle=BACKEND_LIFECYCLE
        )

    def die(self, *, forever: bool) -> None:
        self.world.up = not forever
        self.ref.tell("the model's process ended")

    @property
    def given_up(self) -> bool:
        return any(isinstance(event, ChildGivenUp) for event in self.events)


class Always(EchoBackend):
    """A backend that always reports that it is ready."""

    def __init__(self) -> None:
        super().__init__(print)

    def store_health(self) -> None:  # type: ignore[override]  # as in a backend without a store
        return None

    @property
    def is_open(self) -> bool:
        return True


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def stage(clock: ManualClock) -> AsyncIterator[Stage]:
    async with running_system(clock) as system:
        stage = Stage(system, clock)
        await clock.advance(0.0)
        yield stage


async def test_a_backend_that_is_down_for_an_hour_is_tried_at_ever_longer_intervals(
    stage: Stage, clock: ManualClock
) -> None:
    stage.die(forever=True)
    await clock.advance(HOUR)
    assert not stage.given_up
    pauses = [later - earlier for earlier, later in pairwise(stage.world.attempts[1:])]
    assert len(pauses) > 18
    assert pauses[0] < 1.0
    assert all(later > 1.5 * earlier for earlier, later in pairwise(pauses[:9]))
    assert all(270.0 <= pause <= 330.0 for pause in pauses[12:])
    stage.world.up = True
    await clock.advance(331.0)
    assert stage.health.now().ready
    assert stage.ref.state == "running"


async def test_a_backend_that_runs_a_minute_and_dies_is_back_soon_each_time(
    stage: Stage, clock: ManualClock
) -> None:
    for _ in range(60):
        await clock.advance(61.0)
        stage.die(forever=False)
        await clock.advance(0.3)
        assert stage.health.now().ready
    assert not stage.given_up


async def test_health_tells_the_reason_and_the_next_attempt(
    stage: Stage, clock: ManualClock
) -> None:
    assert stage.health.unavailable() == ""
    assert stage.health.now().ready
    assert stage.health.refusal() is None
    stage.die(forever=True)
    await clock.advance(0.0)
    assert stage.health.unavailable() == "backend"
    health = stage.health.now()
    assert health.detail == "the model's process ended; it restarts in 1 s"
    assert stage.health.refusal() is None  # no restart has failed yet
    await clock.advance(60.0)
    health = stage.health.now()
    assert not health.ready
    assert health.detail.startswith("local: the model's file is broken; it restarts in ")
    refusal = stage.health.refusal()
    assert refusal is not None
    assert (refusal.code, refusal.retryable) == (Code.UNAVAILABLE, True)
    assert "broken" not in refusal.message
    attempts = len(stage.world.attempts)
    await clock.advance(refusal.retry_after_ms / 1000)
    assert len(stage.world.attempts) == attempts + 1
    stage.world.up = True
    await clock.advance(330.0)
    assert stage.health.refusal() is None
    await stage.health.available()
    assert stage.health.unavailable() == ""


async def test_a_message_waits_for_the_first_restart_and_is_refused_when_that_has_failed(
    stage: Stage, clock: ManualClock
) -> None:
    stage.die(forever=False)
    await clock.advance(0.0)
    waiting = asyncio.create_task(stage.health.available())
    await settle()
    assert not waiting.done()
    await clock.advance(0.3)
    await waiting
    stage.die(forever=True)
    await clock.advance(0.0)
    waiting = asyncio.create_task(stage.health.available())
    await settle()
    assert not waiting.done()
    await clock.advance(1.0)
    with pytest.raises(Failure) as caught:
        await waiting
    assert caught.value.retry_after_ms > 0


async def test_a_setting_ends_the_service_after_an_outage_but_not_after_short_ones(
    clock: ManualClock,
) -> None:
    async with running_system(clock) as system:
        stage = Stage(system, clock, max_outage=600.0)
        await clock.advance(0.0)
        for _ in range(60):
            await clock.advance(61.0)
            stage.die(forever=False)
        await clock.advance(61.0)
        stage.die(forever=True)
        await clock.advance(599.0)
        assert stage.ended == []
        await clock.advance(1.0)
        [error] = stage.ended
        assert str(error) == (
            "the backend has been down for 600 s: local: the model's file is broken"
        )


async def test_a_store_that_cannot_be_opened_is_tried_without_end_too(clock: ManualClock) -> None:
    assert STORE_LIFECYCLE.intensity == BACKEND_LIFECYCLE.intensity
    async with running_system(clock) as system:
        outages = Outages("system", clock)
        system.subscribe(outages)
        world = World()
        ref = system.spawn(lambda: Fragile(world), name="store", lifecycle=STORE_LIFECYCLE)
        await clock.advance(0.0)
        world.up = False
        ref.tell("closed")
        await clock.advance(HOUR)
        assert ServiceHealth(Always(), outages).unavailable() == "store"
        world.up = True
        await clock.advance(33.0)
        assert ServiceHealth(Always(), outages).unavailable() == ""


async def test_a_long_lived_actor_that_was_given_up_is_in_the_status(clock: ManualClock) -> None:
    async with running_system(clock) as system:
        registry = Registry()
        registry.supervise(
            "fragile", lambda: Fragile(World()), Lifecycle(intensity=Intensity(0, 1.0))
        )
        await system.start(lambda: Extensions(registry.background_actors), name=status.EXTENSIONS)
        outages = Outages("system", clock)
        backend = Always()
        subject = status.Subject(
            version="1",
            started_at=datetime.now(UTC),
            backend=backend,
            system=system,
            health=ServiceHealth(backend, outages),
            registry=registry,
            metrics=Metrics(),
            connections=lambda: 0,
        )
        answer = status.TellStatus(subject).look(ServiceStatusRequest())
        [extensions] = answer.root.children
        assert [(child.name, child.state) for child in extensions.children] == [
            ("fragile", "running")
        ]
        ref = next(iter(registry.background_actors)).ref
        assert ref is not None
        ref.tell("crash")  # type: ignore[arg-type]  # the registry does not know its message type
        await ref.join()
        answer = status.TellStatus(subject).look(ServiceStatusRequest())
        [extensions] = answer.root.children
        assert [(child.name, child.type, child.state) for child in extensions.children] == [
            ("fragile", "Fragile", "given up")
        ]
