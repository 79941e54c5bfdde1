"""The board watches on a client that a test plays."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from google.protobuf.message import Message

from actors.protocol.failure import Code
from actors.testing import settle
from callboard.board.v1.board_pb2 import (
    ActorReport,
    BoardActor,
    BoardSnapshot,
    WatchActorRequest,
    WatchBoardRequest,
)
from callboard_page.board.watching import Board
from callboard_page.tasks import Tasks
from transport.client import Client
from transport.client.following import RETRY_AFTER
from transport.errors import RequestFailed, SessionLost


class FakeClient:
    """A fake of a client: it streams what a test has it stream, then waits or fails."""

    def __init__(self) -> None:
        self.plans: list[list[Message | Exception]] = []
        self.requests: list[Message] = []
        self.pauses: list[float] = []

    async def ready(self) -> None:
        """Be connected."""

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    until_retry = Client.until_retry

    @asynccontextmanager
    async def stream(self, request: Message, *_: type[Message]) -> AsyncIterator[Any]:
        self.requests.append(request)
        plan = self.plans.pop(0) if self.plans else []

        async def answers() -> AsyncIterator[Message]:
            for one in plan:
                if isinstance(one, Exception):
                    raise one
                yield one
            await asyncio.Event().wait()

        yield answers()


class Watched:
    """A board on a fake client."""

    def __init__(self, *plans: list[Message | Exception]) -> None:
        self.client = FakeClient()
        self.client.plans += plans
        self.failures: list[Exception] = []
        self.drawn = 0
        self.tasks = Tasks(self.failures.append)
        changed: Callable[[], None] = self._change
        self.board = Board(self.client, self.tasks, changed)  # type: ignore[arg-type] # a fake

    def _change(self) -> None:
        self.drawn += 1

    async def end(self) -> None:
        self.tasks.stop()
        await self.tasks.settle()


def snapshot(up: float) -> BoardSnapshot:
    return BoardSnapshot(up_seconds=up, root=BoardActor(name="root"))


async def test_each_snapshot_is_shown_and_remembered() -> None:
    watched = Watched([snapshot(1), snapshot(3)])
    watched.board.start()
    await settle()
    assert watched.board.snapshot == snapshot(3)
    assert watched.drawn == 2
    assert watched.client.requests == [WatchBoardRequest()]
    await watched.end()


async def test_watching_goes_on_after_a_lost_session_and_a_busy_service() -> None:
    busy = RequestFailed(Code.UNAVAILABLE, "busy", retryable=True, retry_after_ms=2500)
    soon = RequestFailed(Code.UNAVAILABLE, "busy", retryable=True)
    watched = Watched([snapshot(1), SessionLost()], [busy], [soon], [snapshot(9)])
    watched.board.start()
    await settle()
    assert watched.board.snapshot == snapshot(9)
    assert watched.client.pauses == [2.5, RETRY_AFTER]
    assert watched.failures == []
    await watched.end()


@pytest.mark.parametrize("code", [Code.UNIMPLEMENTED, Code.UNAVAILABLE])
async def test_a_board_that_is_refused_says_so(code: Code) -> None:
    watched = Watched([RequestFailed(code, "no")])
    watched.board.start()
    await settle()
    assert [str(error) for error in watched.failures] != []
    assert len(watched.client.requests) == 1


async def test_an_actor_is_watched_while_it_is_chosen() -> None:
    report = ActorReport(actor=BoardActor(name="a"))
    watched = Watched([report], [])
    board = watched.board
    board.choose("root/a")
    await settle()
    assert (board.chosen, board.report) == ("root/a", report)
    board.choose("root/b")
    await settle()
    assert (board.chosen, board.report) == ("root/b", None)
    assert watched.client.requests == [
        WatchActorRequest(path="root/a"),
        WatchActorRequest(path="root/b"),
    ]
    assert len(watched.tasks._running) == 1
    board.choose("root/b")
    await settle()
    assert board.chosen == ""
    assert watched.tasks._running == set()
