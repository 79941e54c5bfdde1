"""Watches the board's messages while the page is open."""

from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import Message

from callboard.board.v1.board_pb2 import (
    ActorReport,
    BoardSnapshot,
    WatchActorRequest,
    WatchBoardRequest,
)
from callboard_page.board.series import Memory
from callboard_page.tasks import Tasks, Work
from transport.client import Client
from transport.errors import RequestFailed

M = TypeVar("M", bound=Message)


class Board:
    """What the board shows. chosen: the path of the actor that was clicked; empty: none."""

    def __init__(self, client: Client, tasks: Tasks, changed: Callable[[], None]) -> None:
        self.snapshot: BoardSnapshot | None = None
        self.memory: Memory = Memory()
        self.chosen: str = ""
        self.report: ActorReport | None = None
        self.client: Client = client
        self._tasks = tasks
        self._changed = changed
        self._watching: Work | None = None

    def start(self) -> None:
        """Watch from now on."""
        self._tasks.start(self._watch(WatchBoardRequest(), BoardSnapshot, self._take))

    def choose(self, path: str) -> None:
        """Show an actor and its recent events; an empty path or the same one: none."""
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None
        self.report = None
        self.chosen = "" if path == self.chosen else path
        if self.chosen:
            request = WatchActorRequest(path=self.chosen)
            self._watching = self._tasks.start(self._watch(request, ActorReport, self._take_report))
        self._changed()

    def _take(self, snapshot: BoardSnapshot) -> None:
        self.snapshot = snapshot
        self.memory.add(snapshot)

    def _take_report(self, report: ActorReport) -> None:
        self.report = report

    async def _watch(self, request: Message, answer: type[M], take: Callable[[M], None]) -> None:
        while True:
            await self.client.ready()
            try:
                async with self.client.stream(request, answer) as answers:
                    async for one in answers:
                        take(one)
                        self._changed()
            except RequestFailed as failed:
                await self.client.until_retry(failed)
