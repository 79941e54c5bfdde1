"""What has changed in the list of conversations, for those who watch it.

A watcher gets the latest state of each conversation that changed, not every state: nothing is
stored for it but the number of the last change that it has seen.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Final

from actors import Burst, StreamActor, Yielded
from callboard.v1.chat_pb2 import SessionChanged, SessionInfo, WatchSessionsRequest
from callboard_service.chat.listing import Listing

MAX_KEPT: Final = 10_000
"""Changed conversations that are remembered; a watcher that is further behind gets a new list."""


class Changes:
    """The latest change of each conversation that changed while anybody watched."""

    def __init__(self) -> None:
        self._latest: OrderedDict[str, tuple[int, SessionChanged]] = OrderedDict()
        self._number = 0
        self._forgotten = 0
        """The number of the newest change that is no longer kept."""
        self._watchers = 0
        self._wakes: list[asyncio.Future[None]] = []

    @property
    def watched(self) -> bool:
        """Whether anybody watches, so that changes must be reported."""
        return self._watchers > 0

    @property
    def number(self) -> int:
        """The number of the latest change."""
        return self._number

    def changed(self, info: SessionInfo) -> None:
        """Report that a conversation was created or has changed."""
        self._put(info.id, SessionChanged(info=info))

    def deleted(self, conversation_id: str) -> None:
        """Report that a conversation was deleted."""
        self._put(conversation_id, SessionChanged(deleted=conversation_id))

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Have changes reported and kept within the block."""
        self._watchers += 1
        try:
            yield
        finally:
            self._watchers -= 1
            if not self._watchers:
                self._latest.clear()
                self._forgotten = self._number

    async def after(self, number: int) -> list[SessionChanged] | None:
        """Wait for changes after this one; return the latest of each conversation, oldest first.

        Returns None if some of them are no longer kept.
        """
        while number == self._number:
            wake = asyncio.get_running_loop().create_future()
            self._wakes.append(wake)
            try:
                await wake
            finally:
                if wake.cancelled():
                    self._wakes.remove(wake)
        if number < self._forgotten:
            return None
        found = []
        for latest, change in reversed(self._latest.values()):
            if latest <= number:
                break
            found.append(change)
        found.reverse()
        return found

    def _put(self, conversation_id: str, change: SessionChanged) -> None:
        if not self._watchers:
            return
        self._number += 1
        self._latest[conversation_id] = self._number, change
        self._latest.move_to_end(conversation_id)
        if len(self._latest) > MAX_KEPT:
            _, (self._forgotten, _) = self._latest.popitem(last=False)
        wakes, self._wakes = self._wakes, []
        for wake in wakes:
            if not wake.done():
                wake.set_result(None)


class WatchSessions(StreamActor[WatchSessionsRequest, SessionChanged]):
    """Streams the newest conversations, then each change of any."""

    endless = True

    def __init__(self, listing: Listing, changes: Changes) -> None:
        self._listing = listing
        self._changes = changes

    async def handle(self, request: WatchSessionsRequest) -> AsyncIterator[Yielded[SessionChanged]]:
        """Yield changes until cancelled. Raises Failure."""
        changes = self._changes
        with changes.watching():
            number = changes.number  # what changes while the list is read is sent again
            yield Burst(await self._listed(request))
            yield SessionChanged(listed=True)
            while True:
                found = await changes.after(number)
                number = changes.number
                yield Burst(await self._listed(request) if found is None else found)

    async def _listed(self, request: WatchSessionsRequest) -> list[SessionChanged]:
        found = await self._listing.page(request.limit, archived=request.archived)
        return [SessionChanged(info=info) for info in reversed(found.sessions)]
