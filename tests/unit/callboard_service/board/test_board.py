"""The board's actor types: one snapshot for all who watch, and nothing while nobody does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from actors import (
    ActorSystem,
    Code,
    Failure,
    Lifecycle,
    Registry,
    RequestActor,
)
from actors.testing import Answers, Calls, ManualClock, serving, settle
from callboard.board.v1.board_pb2 import (
    ActorReport,
    ActorState,
    BoardActor,
    BoardEventKind,
    BoardSnapshot,
    WatchActorRequest,
    WatchBoardRequest,
)
from callboard.v1.chat_pb2 import StopTurnRequest, TurnInfo
from callboard_service.board.board import MAX_PATH, PAUSE
from callboard_service.board.events import to_timestamp
from callboard_service.metrics import Metrics
from tests.support.board_kit import NOW, Crowd, board_of
from tests.support.kit import PERMANENT, Bare, Boom, Worker, boom, for_ever

KEY = "KEY OF A SECRET"


class Spent:
    """CPU time, of which each look at it costs so much."""

    def __init__(self) -> None:
        self.each = 0.0
        self.now = 0.0

    def __call__(self) -> float:
        self.now += self.each
        return self.now


class Waiting(RequestActor[StopTurnRequest, TurnInfo]):
    async def handle(self, request: StopTurnRequest) -> TurnInfo:
        await asyncio.Event().wait()
        return TurnInfo()


def child(actor: BoardActor, *names: str) -> BoardActor:
    """Return the actor below this one with these names."""
    for name in names:
        (actor,) = (below for below in actor.children if below.name == name)
    return actor


def spawn_one(worker: Worker) -> None:
    worker.context.spawn(Bare, name="new")


def watch(calls: Calls, interval_ms: int = 0) -> Answers[BoardSnapshot]:
    return calls.stream(WatchBoardRequest(interval_ms=interval_ms), BoardSnapshot)


@asynccontextmanager
async def board(system: ActorSystem, spent: Spent | None = None) -> AsyncIterator[Calls]:
    def register(registry: Registry) -> None:
        registry.register(StopTurnRequest, Waiting)

    async with serving(system, board_of(system, spent or Spent()), register) as calls:
        await settle()
        yield calls


async def test_a_snapshot_shows_the_whole_service(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    metrics = Metrics()
    metrics.books.crashes = 3
    metrics.request_ended("Request", TurnInfo(), 0.0, 0.0)
    stuck = actor_system.spawn(Bare, name="stuck")
    stuck.tell(for_ever)
    actor_system.spawn(Bare, name="crashes", lifecycle=PERMANENT)
    async with serving(actor_system, board_of(actor_system, metrics=metrics)) as calls:
        await manual_clock.advance(5.0)
        snapshot = await anext(watch(calls))
        totals = snapshot.totals
        assert snapshot.at == to_timestamp(NOW)
        assert snapshot.up_seconds == 5.0
        assert (totals.version, totals.backend) == ("1.2", "echo")
        assert (totals.connections, totals.sessions, totals.requests) == (7, 1, 1)
        assert (totals.crashes, totals.requests_ended) == (3, 1)
        assert totals.actors == 8
        assert totals.memory_bytes > 1024 * 1024
        assert totals.cpu_seconds > 0
        assert totals.replay_messages_limit == 4096
        assert totals.held_bytes_limit == 1000
        assert [actor.name for actor in snapshot.root.children] == [
            "stuck",
            "crashes",
            "extensions",
            "sessions",
        ]
        shown = child(snapshot.root, "stuck")
        assert (shown.type, shown.state) == ("Bare", ActorState.ACTOR_STATE_RUNNING)
        assert (shown.message, shown.busy_seconds, shown.up_seconds) == ("function", 5.0, 5.0)
        assert child(snapshot.root, "extensions", "board").details == "watched by 1"
        request = child(snapshot.root, "sessions", "test", "1")
        assert (request.type, request.state) == ("WatchBoard", ActorState.ACTOR_STATE_WAITING)
        (slow,) = snapshot.slow
        assert (slow.path, slow.message, slow.seconds) == ("system/stuck", "function", 5.0)
        (session,) = snapshot.sessions
        assert (session.path, session.connected) == ("system/sessions/test", True)
        assert (session.requests, session.credit) == (1, 1)
        assert snapshot.more_sessions == snapshot.more_conversations == 0
    stuck.kill()


async def test_a_crash_and_what_follows_it_are_shown(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    crashing = actor_system.spawn(Bare, name="c", lifecycle=PERMANENT)
    async with board(actor_system) as calls:
        crashing.tell(boom)
        snapshots = watch(calls, 1000)
        snapshot = await anext(snapshots)
        assert child(snapshot.root, "c").state == ActorState.ACTOR_STATE_RESTARTING
        (event,) = snapshot.events
        assert event.kind == BoardEventKind.BOARD_EVENT_KIND_CRASHED
        assert (event.path, event.error, event.seconds) == ("system/c", "Boom", 1.0)
        await manual_clock.advance(1.5)
        snapshot = await anext(snapshots)
        assert child(snapshot.root, "c").state == ActorState.ACTOR_STATE_WAITING
        assert child(snapshot.root, "c").restarts == 1
        assert len(snapshot.events) == 1


async def test_an_actor_that_was_given_up_is_shown(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    class Crashing(Bare):
        def started(self) -> None:
            self.context.after(1.0, boom)

    def register(registry: Registry) -> None:
        registry.supervise("poor", Crashing)

    async with serving(actor_system, board_of(actor_system), register) as calls:
        await manual_clock.advance(300.0)
        snapshot = await anext(watch(calls))
        poor = child(snapshot.root, "extensions", "poor")
        assert (poor.type, poor.state) == ("Crashing", ActorState.ACTOR_STATE_GIVEN_UP)
        given_up = BoardEventKind.BOARD_EVENT_KIND_GIVEN_UP
        assert given_up in [event.kind for event in snapshot.events]


async def test_all_who_watch_get_the_same_snapshots(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    spent = Spent()
    async with board(actor_system, spent) as calls:
        watchers = [watch(calls, 1000) for _ in range(3)]
        for watcher in watchers:
            await anext(watcher)
        spent.each = 0.0001
        await manual_clock.advance(0.5)  # the times of snapshots do not depend on who came when
        late = watch(calls, 1000)
        first = await anext(late)
        before = spent.now
        await manual_clock.advance(0.5)
        taken = [await anext(watcher) for watcher in (*watchers, late)]
        assert all(each is taken[0] for each in taken)
        assert taken[0] is not first
        assert spent.now - before < 0.0011  # one walk looked at the time a few times


async def test_snapshots_come_less_often_if_one_takes_long(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    spent = Spent()
    spent.each = 0.02
    async with board(actor_system, spent) as calls:
        snapshots = watch(calls, 1000)
        first = await anext(snapshots)
        pause = PAUSE * 3 * spent.each  # it looked at the time before and after three steps
        following = asyncio.ensure_future(anext(snapshots))
        await manual_clock.advance(pause - 2)
        assert not following.done()
        await manual_clock.advance(3)
        second = await following
        assert second.up_seconds - first.up_seconds >= pause


async def test_nothing_runs_while_nobody_watches(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    spent = Spent()
    async with board(actor_system, spent) as calls:
        # Asked first, so that what the session itself needs is there.
        waiting = calls.stream(StopTurnRequest(), TurnInfo)
        await settle()

        def held() -> tuple[int, int, int]:
            return (
                manual_clock.pending,
                actor_system.statistics().tasks,
                actor_system.run_queue.counting,
            )

        before = held()
        snapshots = watch(calls)
        report = calls.stream(WatchActorRequest(path="system"), ActorReport)
        await anext(snapshots)
        await anext(report)
        await settle()
        watched = held()
        assert all(now > then for now, then in zip(watched, before, strict=True))
        for stream in (snapshots, report):
            stream.cancel()
        await settle()
        assert held() == before
        spent.each = 1.0
        await manual_clock.advance(3600)
        assert spent.now == 0.0
        waiting.cancel()


async def test_a_client_that_does_not_read_costs_nothing(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    spent = Spent()
    async with board(actor_system, spent) as calls:
        snapshots = watch(calls, 500)
        await anext(snapshots)  # this grants one more, which is made
        await manual_clock.advance(0.5)
        spent.each = 1.0
        await manual_clock.advance(60)
        assert spent.now == 0.0
        snapshots.cancel()


@pytest.mark.parametrize(
    ("interval_ms", "seconds"), [(0, 2.0), (1, 0.5), (500, 0.5), (3000, 3.0), (10**6, 60.0)]
)
async def test_the_interval_is_bounded(
    actor_system: ActorSystem, manual_clock: ManualClock, interval_ms: int, seconds: float
) -> None:
    async with board(actor_system) as calls:
        snapshots = watch(calls, interval_ms)
        await anext(snapshots)
        following = asyncio.ensure_future(anext(snapshots))
        await manual_clock.advance(seconds - 0.25)
        assert not following.done()
        await manual_clock.advance(0.25)
        assert (await following).up_seconds == seconds


async def test_rates_follow_from_the_counts(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    ref = actor_system.spawn(Bare, name="w")
    async with board(actor_system) as calls:
        snapshots = watch(calls, 1000)
        handled = child((await anext(snapshots)).root, "w").handled
        for _ in range(30):
            ref.tell(lambda worker: None)
            await settle()
        await manual_clock.advance(1.0)
        snapshot = await anext(snapshots)
        assert child(snapshot.root, "w").handled - handled == 30
        assert snapshot.totals.messages >= 30


async def test_a_report_shows_one_actor_and_its_events(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    crowd = await actor_system.start(lambda: Crowd(3), name="crowd", lifecycle=Lifecycle())
    other = actor_system.spawn(Bare, name="other", lifecycle=PERMANENT)
    async with board(actor_system) as calls:
        request = WatchActorRequest(path="system/crowd", interval_ms=1000)
        reports = calls.stream(request, ActorReport)
        report = await anext(reports)
        assert (report.actor.name, report.actor.children_now) == ("crowd", 3)
        assert [below.name for below in report.actor.children] == ["c0", "c1", "c2"]
        assert (report.at, report.up_seconds) == (to_timestamp(NOW), 0.0)
        assert list(report.events) == []
        other.tell(boom)
        crowd.tell(spawn_one)
        await settle()
        crowd.stop()
        await manual_clock.advance(1.0)
        report = await anext(reports)
        assert not report.HasField("actor")
        told = [(BoardEventKind.Name(event.kind)[17:], event.path) for event in report.events]
        assert told[0] == ("STARTED", "system/crowd/new")
        assert told[-1] == ("STOPPED", "system/crowd")
        assert {path for _, path in told} == {
            "system/crowd",
            *(f"system/crowd/{name}" for name in ("new", "c0", "c1", "c2")),
        }


async def test_a_report_of_a_session_has_its_buffers(actor_system: ActorSystem) -> None:
    async with board(actor_system) as calls:
        request = WatchActorRequest(path="system/sessions/test")
        report = await anext(calls.stream(request, ActorReport))
        assert report.session.requests == 1
        assert report.actor.type == "SessionActor"
        assert not report.HasField("conversation")


@pytest.mark.parametrize("path", ["", "a" * (MAX_PATH + 1)])
async def test_a_path_is_needed_and_bounded(actor_system: ActorSystem, path: str) -> None:
    async with board(actor_system) as calls:
        with pytest.raises(Failure) as caught:
            await anext(calls.stream(WatchActorRequest(path=path), ActorReport))
        assert caught.value.code is Code.INVALID_ARGUMENT


async def test_a_board_that_crashed_is_there_again_with_its_events(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    spent = Spent()
    async with board(actor_system, spent) as calls:
        crashing = actor_system.spawn(Bare, name="c", lifecycle=PERMANENT)
        crashing.tell(boom)
        await settle()

        def fail() -> float:
            raise Boom

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Spent, "__call__", lambda spent: fail())
            with pytest.raises(Failure) as caught:
                await anext(watch(calls))
            assert (caught.value.code, caught.value.retryable) == (Code.UNAVAILABLE, True)
        await manual_clock.advance(10)
        snapshot = await anext(watch(calls))
        paths = [event.path for event in snapshot.events]
        assert paths == ["system/c", "system/extensions/board"]
        assert actor_system.run_queue.counting == 1


async def test_what_somebody_sent_is_in_no_snapshot(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    """Neither the contents of a request, nor the text of an error, nor a token."""

    class Crashing(RequestActor[StopTurnRequest, TurnInfo]):
        async def handle(self, request: StopTurnRequest) -> TurnInfo:
            if request.turn_id:
                raise ValueError(request.session_id)
            await asyncio.Event().wait()
            return TurnInfo()

    def register(registry: Registry) -> None:
        registry.register(StopTurnRequest, Crashing)

    async with serving(actor_system, board_of(actor_system), register) as calls:
        report = calls.stream(WatchActorRequest(path="system"), ActorReport)
        await anext(report)
        with pytest.raises(Failure):
            await calls.call(StopTurnRequest(session_id=KEY, turn_id=KEY), TurnInfo)
        held = calls.stream(StopTurnRequest(session_id=KEY), TurnInfo)
        await manual_clock.advance(2.0)
        shown = (await anext(watch(calls))).SerializeToString()
        shown += (await anext(report)).SerializeToString()
        assert b"ValueError" in shown
        assert KEY.encode() not in shown
        held.cancel()
