"""Counts what the service does, and exposes it in the Prometheus format.

Each service has its own registry; nothing is global. Labels have few values, and none of them comes
from a client.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from actors import ActorSnapshot, ChildGivenUp, Crashed, Event, Restarted
from actors.protocol.close_codes import CloseCode
from actors.protocol.effects import Limit
from actors.sessions.messages import SessionEvent
from callboard_service.request_counts import RequestCounts


@dataclass(slots=True)
class Books:
    """Counts of actor events since the service was started."""

    crashes: int = 0
    restarts: int = 0
    given_up: int = 0


@dataclass(slots=True)
class SessionBooks:
    """Counts of session events. away: sessions that are without a connection now."""

    away: int = 0
    resumes: int = 0
    take_overs: int = 0
    slow_consumers: int = 0
    refused: dict[Limit, int] = field(default_factory=dict)


class Metrics:
    """The counters of one service. Method calls update them, and `expose` reads them."""

    kinds: Final = (Crashed, Restarted, ChildGivenUp)

    def __init__(self) -> None:
        self.books = Books()
        self.session_books = SessionBooks()
        self._registry = CollectorRegistry()
        registry = self._registry
        self.sessions = Counter("callboard_sessions_opened", "Sessions opened.", registry=registry)
        self._session_events = Counter(
            "callboard_sessions_changed",
            "Session events: left, resumed, taken over, not resumed, ended away.",
            ["what"],
            registry=registry,
        )
        self._limited = Counter(
            "callboard_requests_limited",
            "Requests refused because of a limit, by limit.",
            ["limit"],
            registry=registry,
        )
        away = Gauge("callboard_sessions_away", "Sessions without a connection.", registry=registry)
        away.set_function(lambda: self.session_books.away)
        self._closed = Counter(
            "callboard_connections_closed",
            "Connections closed, by close code (4002: slow consumer).",
            ["code"],
            registry=registry,
        )
        self._refused = Counter(
            "callboard_connections_refused",
            "Connections refused before the upgrade, by HTTP status.",
            ["status"],
            registry=registry,
        )
        self.requests = RequestCounts()
        registry.register(self.requests)
        self.request_ended = self.requests.request_ended
        self._crashes = Counter("callboard_actor_crashes", "Crashes of actors.", registry=registry)
        self._restarts = Counter(
            "callboard_actor_restarts", "Restarts of actors.", registry=registry
        )
        self._given_up = Counter(
            "callboard_actors_given_up",
            "Actors that crashed too often and are not restarted.",
            registry=registry,
        )

    def watch(self, snapshot: Callable[[], ActorSnapshot], connections: Callable[[], int]) -> None:
        """Include the actor tree and the open connections in `expose` from now on."""
        self._registry.register(_Tree(snapshot))
        open_now = Gauge("callboard_connections", "Open connections.", registry=self._registry)
        open_now.set_function(connections)

    def refused(self, status: int) -> None:
        """Count a connection that was refused before the upgrade."""
        self._refused.labels(str(status)).inc()

    def opened(self, *, resumed: bool) -> None:
        """Count a new session; a resumed one is counted by `record`."""
        if not resumed:
            self.sessions.inc()

    def closed(self, code: int) -> None:
        """Count a connection that ended. Unknown codes, which a client may invent, count as one."""
        self._closed.labels(str(code) if code in _CODES else "other").inc()
        if code == CloseCode.SLOW_CONSUMER:
            self.session_books.slow_consumers += 1

    def record(self, event: SessionEvent) -> None:
        """Count a session event."""
        self._session_events.labels(event.value).inc()
        books = self.session_books
        match event:
            case SessionEvent.LEFT:
                books.away += 1
            case SessionEvent.RESUMED:
                books.away -= 1
                books.resumes += 1
            case SessionEvent.TAKEN_OVER:
                books.resumes += 1
                books.take_overs += 1
            case SessionEvent.ENDED_AWAY:
                books.away -= 1
            case SessionEvent.NOT_RESUMED:
                pass

    def limited(self, limit: Limit) -> None:
        """Count a request that was refused by this limit."""
        self._limited.labels(limit.value).inc()
        refused = self.session_books.refused
        refused[limit] = refused.get(limit, 0) + 1

    def __call__(self, event: Event) -> None:
        """Count an event of the actor runtime, of one of the classes `kinds`."""
        match event:
            case Crashed():
                self.books.crashes += 1
                self._crashes.inc()
            case Restarted():
                self.books.restarts += 1
                self._restarts.inc()
            case ChildGivenUp():
                self.books.given_up += 1
                self._given_up.inc()
            case _:
                pass

    def expose(self) -> bytes:
        """Return all metrics as a scrape expects them."""
        exposed: bytes = generate_latest(self._registry)
        return exposed


_CODES: Final = frozenset(
    {1000, 1001, 1002, 1003, 1005, 1006, 1007, 1009, 1012, *range(4000, 4010), *range(4500, 4510)}
)


class _Tree(Collector):
    """Collects metrics of the actor tree at each scrape."""

    def __init__(self, snapshot: Callable[[], ActorSnapshot]) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Return the number of actors and of messages in their mailboxes, by actor type."""
        actors: dict[str, int] = {}
        waiting: dict[str, int] = {}
        stack = [self._snapshot()]
        while stack:
            actor = stack.pop()
            actors[actor.type] = actors.get(actor.type, 0) + 1
            waiting[actor.type] = waiting.get(actor.type, 0) + actor.mailbox
            stack.extend(actor.children)
        running = GaugeMetricFamily("callboard_actors", "Running actors, by type.", labels=["type"])
        depth = GaugeMetricFamily(
            "callboard_mailbox_messages",
            "Messages waiting in mailboxes, by actor type.",
            labels=["type"],
        )
        for kind, count in actors.items():
            running.add_metric([kind], count)
            depth.add_metric([kind], waiting[kind])
        return [running, depth]
