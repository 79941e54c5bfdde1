"""The board in a test: on a manual clock, without a service, and with its time for free."""

from collections.abc import Callable, Generator
from datetime import UTC, datetime
from typing import TypeVar

from actors import ActorSystem, ActorView, Registry
from actors.protocol.limits import SessionLimits
from actors.protocol.memory import Budget
from callboard_service import status
from callboard_service.backends.echo.backend import EchoBackend
from callboard_service.board import board
from callboard_service.board.survey import Node, Survey
from callboard_service.health import Outages, ServiceHealth
from callboard_service.metrics import Metrics
from tests.support.kit import Bare, Worker

R = TypeVar("R")

NOW = 1_800_000_000.0
"""Seconds since the epoch at which the board's clock stands still."""


def no_time() -> float:
    """Return that no CPU time passes."""
    return 0.0


def board_of(
    system: ActorSystem,
    cpu_time: Callable[[], float] = no_time,
    metrics: Metrics | None = None,
    now: Callable[[], float] = lambda: NOW,
) -> Callable[[Registry], None]:
    """Return a function that registers the board of this system."""

    def register(registry: Registry) -> None:
        backend = EchoBackend(lambda line: None)
        subject = status.Subject(
            version="1.2",
            started_at=datetime.now(UTC),
            backend=backend,
            system=system,
            health=ServiceHealth(backend, Outages("system", system.clock)),
            registry=registry,
            metrics=metrics or Metrics(),
            connections=lambda: 7,
        )
        board.register(registry, subject, SessionLimits(), Budget(1000), cpu_time, now)

    return register


def finished(parts: Generator[None, None, R]) -> tuple[R, int]:
    """Do all parts in one go; return the result, and how many they were."""
    count = 1
    while True:
        try:
            next(parts)
        except StopIteration as end:
            return end.value, count
        count += 1


def walked(survey: Survey, view: ActorView) -> tuple[Node, int]:
    """Walk in one go; return the node, and in how many parts it was."""
    return finished(survey.walk(view))


class Crowd(Worker):
    """Has so many children."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def started(self) -> None:
        for number in range(self.size):
            self.context.spawn(Bare, name=f"c{number}")
