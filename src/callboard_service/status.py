"""Defines the actor type that answers `callboard status` with the state of the service."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from actors import ActorSnapshot, ActorSystem, Registry, RequestActor
from callboard.v1.system_pb2 import (
    ActorStatus,
    BackendHealth,
    ServiceStatus,
    ServiceStatusRequest,
)
from callboard_service.backends.base import ChatBackend
from callboard_service.health import ServiceHealth
from callboard_service.metrics import Metrics

EXTENSIONS: Final = "extensions"
"""Name of the supervisor of the extensions' background actors."""

GIVEN_UP: Final = "given up"
"""State of an actor that crashed too often and is not restarted."""

RESERVED: Final = 32 * 1024
"""Bytes that an answer reserves, so that few are built at once. A session that holds little always
has that much room, so the status can be requested while memory is short."""

DEFAULT_CHILDREN: Final = 50
MOST_CHILDREN: Final = 1000


@dataclass(frozen=True, slots=True)
class Subject:
    """The parts of the service that the status describes."""

    version: str
    started_at: datetime
    backend: ChatBackend
    system: ActorSystem
    health: ServiceHealth
    registry: Registry
    metrics: Metrics
    connections: Callable[[], int]


class TellStatus(RequestActor[ServiceStatusRequest, ServiceStatus]):
    """Answers with the current state of the service."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject

    async def handle(self, request: ServiceStatusRequest) -> ServiceStatus:
        """Wait until there is room for the answer, then return the status."""
        await self.context.reserve(RESERVED)
        return self.look(request)

    def look(self, request: ServiceStatusRequest) -> ServiceStatus:
        """Return the status. Takes time and memory proportional to the number of actors."""
        subject = self._subject
        snapshot = subject.system.snapshot()
        sessions = find(snapshot, "sessions")
        books, session_books = subject.metrics.books, subject.metrics.session_books
        started_at = Timestamp()
        started_at.FromDatetime(subject.started_at)
        health = subject.health.now()
        max_children = min(request.max_children or DEFAULT_CHILDREN, MOST_CHILDREN)
        return ServiceStatus(
            version=subject.version,
            started_at=started_at,
            backend=subject.backend.name,
            backend_health=BackendHealth(ready=health.ready, detail=health.detail),
            connections=subject.connections(),
            sessions=len(sessions),
            requests=sum(len(session.children) for session in sessions),
            crashes=books.crashes,
            restarts=books.restarts,
            given_up=books.given_up,
            dead_letters=subject.system.dead_letters,
            sessions_away=session_books.away,
            resumes=session_books.resumes,
            take_overs=session_books.take_overs,
            slow_consumers=session_books.slow_consumers,
            refused_requests={limit.value: n for limit, n in session_books.refused.items()},
            root=_with_given_up(describe(snapshot, max_children), subject.registry),
        )


def find(root: ActorSnapshot, name: str) -> tuple[ActorSnapshot, ...]:
    """Return the children of the root's child with this name; empty if there is none."""
    return next((child.children for child in root.children if child.name == name), ())


def describe(actor: ActorSnapshot, max_children: int) -> ActorStatus:
    """Return an actor and its descendants as an ActorStatus, at most `max_children` per actor."""
    shown = actor.children[:max_children]
    return ActorStatus(
        name=actor.name,
        type=actor.type,
        state=actor.state,
        mailbox=actor.mailbox,
        mailbox_capacity=actor.capacity,
        message=actor.message,
        busy_seconds=actor.busy_for,
        restarts=actor.restarts,
        children_started=actor.tally.started,
        children_crashed=actor.tally.crashed,
        children=[describe(child, max_children) for child in shown],
        more_children=len(actor.children) - len(shown),
    )


def _with_given_up(root: ActorStatus, registry: Registry) -> ActorStatus:
    """Add the background actors that were given up, which are no longer in the tree."""
    extensions = next((child for child in root.children if child.name == EXTENSIONS), None)
    if extensions is not None:
        for background in registry.background_actors:
            if background.ref is not None and not background.ref.alive:
                kind = "" if background.kind is None else background.kind.__name__
                extensions.children.add(name=background.name, type=kind, state=GIVEN_UP)
    return root


def register(registry: Registry, subject: Subject) -> None:
    """Register the actor type that answers status requests."""
    registry.register(ServiceStatusRequest, lambda: TellStatus(subject))
