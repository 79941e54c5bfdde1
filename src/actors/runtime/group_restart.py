"""Restart several children together: OTP's one_for_all and rest_for_one.

A separate task does this, so the parent may handle messages meanwhile. There is one for each
supervisor, and only while it is needed:

    halt the crashed child's group, youngest first → wait for the backoff
        → start all of them in order, each when the one before it is ready

A crash during a group restart begins it again, and counts against the intensity as usual.
"""

import asyncio
from typing import TYPE_CHECKING

from actors.runtime.states import State
from actors.runtime.supervision import Restart, Strategy

if TYPE_CHECKING:
    from actors.runtime.cell import Cell
    from actors.runtime.children import Children


class GroupRestart:
    """One group restart, which lasts until the whole group runs again."""

    __slots__ = ("_causes", "_children", "_news", "_task")

    def __init__(self, children: "Children") -> None:
        self._children = children
        self._causes: list[tuple[Cell[object], float]] = []
        self._news: asyncio.Future[None] | None = None
        self._task = asyncio.get_running_loop().create_task(self._work())

    def add(self, child: "Cell[object]", delay: float) -> None:
        """Add a crashed child whose restart is due in `delay` seconds."""
        self._causes.append((child, delay))
        self.news()

    def news(self) -> None:
        """Wake the task: a child is ready, halted or gone."""
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def cancel(self) -> None:
        """Cancel the restart, because all children are being stopped."""
        self._task.cancel()

    async def _work(self) -> None:
        while self._causes:
            causes, self._causes = self._causes, []
            group = self._group([child for child, _ in causes])
            await self._halt(group)
            await self._pause(max(delay for _, delay in causes))
            await self._start(group)
        self._children.group_restart = None

    def _group(self, crashed: "list[Cell[object]]") -> "list[Cell[object]]":
        members = list(self._children.members.values())
        if self._children.supervision.strategy is Strategy.ONE_FOR_ALL:
            return members
        places = [members.index(child) for child in crashed if child in members]
        return members[min(places) :] if places else []

    async def _halt(self, group: "list[Cell[object]]") -> None:
        for cell in reversed(group):
            if cell.lifecycle.restart is Restart.TEMPORARY:
                cell.stop()
            else:
                cell.halt()
            while cell.state not in (State.PAUSED, State.STOPPED) or cell.incarnation.halting:
                await self._wait()

    async def _pause(self, delay: float) -> None:
        due: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self._children.parent.system.clock.call_later(
            delay, lambda: None if due.done() else due.set_result(None)
        )
        try:
            await due
        finally:
            timer.cancel()

    async def _start(self, group: "list[Cell[object]]") -> None:
        for cell in group:
            if self._causes:
                return
            if cell.state is State.PAUSED:
                cell.resume()
            while cell.state is State.STARTING and not self._causes:
                await self._wait()

    async def _wait(self) -> None:
        self._news = asyncio.get_running_loop().create_future()
        try:
            await self._news
        finally:
            self._news = None
