"""The actor types of the board. They use what any extension can use.

One background actor walks the tree for all who watch, so rarely that it takes less than a hundredth
of a core. While nobody watches it only notes trouble: it has no timer, no task and no snapshot.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Generator
from dataclasses import dataclass
from typing import Final, TypeVar

from actors import (
    Actor,
    ActorRef,
    AskFailed,
    Code,
    Down,
    Failure,
    Question,
    Registry,
    SessionDetails,
    Shared,
    StreamActor,
    Undelivered,
    Yielded,
    shared,
)
from actors.protocol.limits import SessionLimits
from actors.protocol.memory import Budget
from callboard.board.v1.board_pb2 import (
    ActorReport,
    ActorState,
    BoardActor,
    BoardSnapshot,
    WatchActorRequest,
    WatchBoardRequest,
)
from callboard_service.board.events import TROUBLE, Events, to_timestamp
from callboard_service.board.picture import (
    LIST_BYTES,
    describe_conversation,
    describe_session,
    describe_slow,
    draw,
    listed,
)
from callboard_service.board.survey import Survey, find
from callboard_service.board.texts import bounded
from callboard_service.board.totals import Whole
from callboard_service.chat.details import ConversationDetails
from callboard_service.status import EXTENSIONS, Subject

DEFAULT_INTERVAL: Final = 2.0
SHORTEST_INTERVAL: Final = 0.5
LONGEST_INTERVAL: Final = 60.0
"""Seconds between two answers."""

PAUSE: Final = 150.0
"""A walk that took a second of CPU time is followed by a pause of this many seconds."""

MOST_CHILDREN: Final = 200
"""Children in a report of one actor."""

GIVEN_UP: Final = 20
"""Background actors that are shown though they were given up."""

MOST_REPORTS: Final = 16
"""Requests at once that watch one actor."""

MAX_PATH: Final = 1024
"""Characters of the path of the actor to watch."""

_ANSWER: Final = 60.0
"""Seconds that a snapshot may take, on a busy loop."""

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Taken:
    """A snapshot, and when it was taken by the system's clock."""

    snapshot: Shared[BoardSnapshot]
    at: float


@dataclass
class Look(Question[Taken]):
    """Return a snapshot, or the latest one if it is too early for another.

    watcher: the request that watches, until it ends. max_age: the latest one will do, too, if it is
    at most so many seconds old.
    """

    watcher: ActorRef[object]
    max_age: float


@dataclass(frozen=True, slots=True)
class Sources:
    """What the board is made from; see `register`."""

    whole: Whole
    events: Events
    cpu_time: Callable[[], float]
    now: Callable[[], float]


class Board(Actor[Look]):
    """Takes snapshots for all who watch."""

    def __init__(self, sources: Sources) -> None:
        self._whole, self._events = sources.whole, sources.events
        self._cpu_time, self._now = sources.cpu_time, sources.now
        self._latest: Taken | None = None
        self._due = 0.0
        self._watchers: set[str] = set()
        self._stop_counting: Callable[[], None] = lambda: None

    def started(self) -> None:
        """Note trouble from now on, whether anybody watches or not."""
        context = self.context
        context.at_end(context.system.subscribe(self._events, TROUBLE))
        context.at_end(lambda: self._stop_counting())

    async def receive(self, message: Look) -> None:
        """Answer with the latest snapshot, or take one."""
        if message.reply.done:
            return
        self._add(message.watcher)
        latest, now = self._latest, self.context.clock.now()
        if latest is None or (now >= self._due and now - latest.at > message.max_age):
            latest = self._latest = await self._take(now)
        message.reply.send(latest)

    def down(self, down: Down) -> None:
        """Forget a request that has ended; with the last one, forget the snapshot too."""
        self._watchers.discard(down.path)
        if not self._watchers:
            self._stop_counting()
            self._latest = None

    def describe(self) -> str:
        """Return how many watch."""
        return f"watched by {len(self._watchers)}"

    def _add(self, watcher: ActorRef[object]) -> None:
        if watcher.path not in self._watchers:
            if not self._watchers:
                self._stop_counting = self.context.system.count_messages()
            self._watchers.add(watcher.path)
            self.context.watch(watcher)

    async def _take(self, now: float) -> Taken:
        survey = Survey()
        node, walking = await in_parts(survey.walk(self.context.system.root), self._cpu_time)
        root, drawing = await in_parts(draw(node), self._cpu_time)
        began = self._cpu_time()
        snapshot = BoardSnapshot(
            at=to_timestamp(self._now()),
            up_seconds=self._whole.up_seconds(),
            totals=self._whole.totals(survey),
            root=root,
            sessions=listed(survey.largest_sessions(), describe_session),
            conversations=listed(survey.liveliest_conversations(), describe_conversation),
            slow=listed(survey.slowest(), describe_slow),
            events=self._events.shown(LIST_BYTES),
        )
        snapshot.more_sessions = len(survey.sessions) - len(snapshot.sessions)
        snapshot.more_conversations = len(survey.conversations) - len(snapshot.conversations)
        self._add_given_up(snapshot.root)
        taken = Taken(shared(snapshot), now)
        spent = walking + drawing + self._cpu_time() - began
        self._due = now + PAUSE * spent
        return taken

    def _add_given_up(self, root: BoardActor) -> None:
        """Add the background actors that were given up, which are no longer in the tree."""
        above = next((child for child in root.children if child.name == EXTENSIONS), None)
        given_up = self._whole.given_up()
        if above is not None:
            for name, kind in given_up[:GIVEN_UP]:
                state = ActorState.ACTOR_STATE_GIVEN_UP
                above.children.add(name=bounded(name), type=bounded(kind), state=state)


class WatchBoard(StreamActor[WatchBoardRequest, BoardSnapshot]):
    """Streams snapshots. All who watch at one interval get the same ones, at the same time."""

    endless = True

    async def handle(self, request: WatchBoardRequest) -> AsyncIterator[Yielded[BoardSnapshot]]:
        """Yield a snapshot at once and after each interval. Raises Failure: UNAVAILABLE."""
        board, interval = self.context.actor(Board), seconds_of(request.interval_ms)
        sent: Taken | None = None
        while True:
            try:
                taken = await board.ask(Look(self.context.ref, interval / 2), timeout=_ANSWER)
            except (AskFailed, Undelivered) as error:
                message = "the board takes no snapshots now"
                raise Failure(Code.UNAVAILABLE, message, retryable=True) from error
            if taken is not sent:
                sent = taken
                yield taken.snapshot
            await self.context.sleep(interval - self.context.clock.now() % interval)


class WatchActor(StreamActor[WatchActorRequest, ActorReport]):
    """Streams reports of one actor."""

    endless = True
    at_most = MOST_REPORTS

    def __init__(self, sources: Sources) -> None:
        self._whole, self._events = sources.whole, sources.events
        self._cpu_time, self._now = sources.cpu_time, sources.now

    async def handle(self, request: WatchActorRequest) -> AsyncIterator[Yielded[ActorReport]]:
        """Yield a report at once and after each interval. Raises Failure: INVALID_ARGUMENT."""
        path, interval = request.path, seconds_of(request.interval_ms)
        if not path or len(path) > MAX_PATH:
            raise Failure(Code.INVALID_ARGUMENT, "the path is empty or too long")
        system = self.context.system
        events = Events(self._now, path, self._events)
        ends = [system.subscribe(events), system.count_messages()]
        try:
            while True:
                report, spent = await self._report(path, events)
                yield report
                await self.context.sleep(max(interval, PAUSE * spent))
        finally:
            for end in ends:
                end()

    async def _report(self, path: str, events: Events) -> tuple[ActorReport, float]:
        """Return a report, and the CPU time that it took."""
        report = ActorReport(
            at=to_timestamp(self._now()),
            up_seconds=self._whole.up_seconds(),
            events=events.shown(LIST_BYTES),
        )
        view, spent = find(self.context.system.root, path), 0.0
        if view is not None:
            survey = Survey(MOST_CHILDREN, depth=1)
            node, walking = await in_parts(survey.walk(view), self._cpu_time)
            root, drawing = await in_parts(draw(node), self._cpu_time)
            report.actor.CopyFrom(root)
            details = view.details
            if isinstance(details, SessionDetails):
                report.session.CopyFrom(describe_session(details, view))
            elif isinstance(details, ConversationDetails):
                report.conversation.CopyFrom(describe_conversation(details, view))
            spent = walking + drawing
        return report, spent


async def in_parts(
    parts: Generator[None, None, R], cpu_time: Callable[[], float]
) -> tuple[R, float]:
    """Run the parts, each in a turn of the event loop; return the result and the CPU time taken."""
    spent = 0.0
    while True:
        began = cpu_time()
        try:
            next(parts)
        except StopIteration as end:
            return end.value, spent + cpu_time() - began
        spent += cpu_time() - began
        await asyncio.sleep(0)


def seconds_of(interval_ms: int) -> float:
    """Return the seconds between two answers to a request."""
    seconds = interval_ms / 1000 or DEFAULT_INTERVAL
    return min(max(seconds, SHORTEST_INTERVAL), LONGEST_INTERVAL)


def register(
    registry: Registry,
    subject: Subject,
    limits: SessionLimits,
    budget: Budget,
    cpu_time: Callable[[], float] = time.thread_time,
    now: Callable[[], float] = time.time,
) -> None:
    """Register the actor types of the board.

    limits, budget: what a session, and all of them together, may hold. cpu_time: returns the CPU
    time of this thread in seconds. now: returns seconds since the epoch.
    """
    whole = Whole(subject, limits, budget, subject.system.clock.now())
    sources = Sources(whole, Events(now), cpu_time, now)
    registry.supervise("board", lambda: Board(sources))
    registry.register(WatchBoardRequest, WatchBoard)
    registry.register(WatchActorRequest, lambda: WatchActor(sources))
