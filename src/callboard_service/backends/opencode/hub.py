"""Where the events go: an inbox for each reply that runs. Shared by the actors of the backend.

The stream cannot be paused. What a reply has not taken is bounded: it is ended beyond that.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from enum import Enum
from typing import Final, TypeAlias

from actors import Code, Failure
from callboard.v1.chat_pb2 import AnswerRequest
from callboard_service.backends.opencode.api import Api
from callboard_service.backends.opencode.fields import Table, table, text
from callboard_service.backends.opencode.fields import name as name_of

MAX_EVENTS: Final = 10_000
MAX_BYTES: Final = 4 * 1024 * 1024
"""What may wait for one reply."""

RESTART_WAIT: Final = 15.0
"""Seconds that a request waits for a server that is being started again."""

_AWAY: Final = "the OpenCode server is not there"
_OF_CHILDREN: Final = ("permission.", "question.", "session.created")


class Stream(Enum):
    """What becomes of the event stream."""

    LOST = "lost"
    BACK = "back"


Item: TypeAlias = Table | Stream | AnswerRequest


class ReplyEvents:
    """What waits for one reply."""

    def __init__(self, overflowed: Callable[[], None]) -> None:
        self._overflowed = overflowed
        self._items: deque[tuple[Item, int]] = deque()
        self._bytes = 0
        self._failure: Failure | None = None
        self._filled = asyncio.Event()

    def put(self, item: Item, size: int = 0) -> None:
        """Take one in; one too many ends the reply."""
        if self._failure is not None:
            return
        if len(self._items) >= MAX_EVENTS or self._bytes + size > MAX_BYTES:
            message = "the reply comes faster than it is taken"
            self.fail(Failure(Code.RESOURCE_EXHAUSTED, message, retryable=True))
            self._overflowed()
            return
        self._items.append((item, size))
        self._bytes += size
        self._filled.set()

    def fail(self, failure: Failure) -> None:
        """End the reply; what waits is dropped."""
        self._failure = failure
        self._items.clear()
        self._bytes = 0
        self._filled.set()

    async def take(self) -> Item:
        """The next one. Raises the Failure that ends the reply."""
        while not self._items:
            if self._failure is not None:
                raise self._failure
            self._filled.clear()
            await self._filled.wait()
        item, size = self._items.popleft()
        self._bytes -= size
        return item


class Hub:
    """The server that is there now, and the replies that run."""

    def __init__(self, aborted: Callable[[str], None]) -> None:
        self._aborted = aborted
        self._api: Api | None = None
        self._inboxes: dict[str, ReplyEvents] = {}
        self._parents: dict[str, str] = {}
        self._there = asyncio.Event()
        self.streaming = asyncio.Event()

    @property
    def attached(self) -> bool:
        """There is a server."""
        return self._api is not None

    async def api(self) -> Api:
        """The server; one that is being started again is waited for. Raises Failure."""
        try:
            async with asyncio.timeout(RESTART_WAIT):
                await self._there.wait()
        except TimeoutError:
            pass
        if self._api is None:
            raise Failure(Code.UNAVAILABLE, _AWAY, retryable=True)
        return self._api

    @property
    def directory(self) -> str:
        """The project's, as the server names it; empty: there is no server."""
        return "" if self._api is None else self._api.directory

    def attach(self, api: Api) -> None:
        """This is the server from now on."""
        self._api = api
        self._there.set()

    def detach(self) -> None:
        """The server is gone, and the replies with it."""
        self._api = None
        self._there.clear()
        self.lost()
        for inbox in self._inboxes.values():
            inbox.fail(Failure(Code.UNAVAILABLE, "the OpenCode server ended", retryable=True))

    def back(self) -> None:
        """Events come, from now on and not from before."""
        self.streaming.set()
        for inbox in self._inboxes.values():
            inbox.put(Stream.BACK)

    def lost(self) -> None:
        """No events come."""
        if self.streaming.is_set():
            self.streaming.clear()
            for inbox in self._inboxes.values():
                inbox.put(Stream.LOST)

    @contextmanager
    def listening(
        self, conversation_id: str, children: Iterable[str] = ()
    ) -> Generator[ReplyEvents, None, None]:
        """Have the events of a conversation, and of those that its replies start or have started.

        children: agents of earlier replies, which this one may give more to do.
        """
        inbox = ReplyEvents(lambda: self._aborted(conversation_id))
        self._inboxes[conversation_id] = inbox
        self._parents |= dict.fromkeys(children, conversation_id)
        try:
            yield inbox
        finally:
            del self._inboxes[conversation_id]
            children = [name for name, of in self._parents.items() if of == conversation_id]
            for child in children:
                del self._parents[child]

    def route(self, event: Table, size: int) -> None:
        """Hand an event to the reply that it is about."""
        data = table(event, "properties")
        name = name_of(data, "sessionID")
        kind = text(event, "type")
        if kind == "session.created":
            parent = text(table(data, "info"), "parentID")
            root = self._parents.get(parent, parent)
            if name and root in self._inboxes:
                self._parents[name] = root
        if kind == "session.error" and not name:  # it may be about any of them
            for each in self._inboxes.values():
                each.put(event, size)
        if name not in self._inboxes and kind.startswith(_OF_CHILDREN):
            name = self._parents.get(name, "")
        inbox = self._inboxes.get(name)
        if inbox is not None:
            inbox.put(event, size)
