"""Route events to an inbox for each running reply. Shared by the actors of the backend.

The stream cannot be paused, so the events that wait for a reply are bounded; beyond that the reply
is ended.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from enum import Enum
from typing import Final, TypeAlias

from actors import Code, Failure
from callboard.v1.chat_pb2 import AnswerRequest
from callboard_service.backends.fields import Table, table, text
from callboard_service.backends.fields import name as name_of
from callboard_service.backends.opencode.api import Api

MAX_EVENTS: Final = 10_000
MAX_BYTES: Final = 4 * 1024 * 1024
"""Limits for the events that wait for one reply."""

RESTART_WAIT: Final = 15.0
"""Seconds that a request waits for a server that is being restarted."""

_AWAY: Final = "the OpenCode server is not connected"
_OF_CHILDREN: Final = ("permission.", "question.", "session.created")
"""Kinds of events of agents that concern the reply; their tool calls do as well."""


class Stream(Enum):
    """A change of the event stream."""

    LOST = "lost"
    BACK = "back"


Item: TypeAlias = Table | Stream | AnswerRequest


class ReplyEvents:
    """The events that wait for one reply."""

    def __init__(self, overflowed: Callable[[], None]) -> None:
        self._overflowed = overflowed
        self._items: deque[tuple[Item, int]] = deque()
        self._bytes = 0
        self._failure: Failure | None = None
        self._filled = asyncio.Event()

    def put(self, item: Item, size: int = 0) -> None:
        """Add an item; one beyond the limits ends the reply."""
        if self._failure is not None:
            return
        if len(self._items) >= MAX_EVENTS or self._bytes + size > MAX_BYTES:
            message = "the reply arrives faster than the client reads it"
            self.fail(Failure(Code.RESOURCE_EXHAUSTED, message, retryable=True))
            self._overflowed()
            return
        self._items.append((item, size))
        self._bytes += size
        self._filled.set()

    def fail(self, failure: Failure) -> None:
        """End the reply and drop the waiting events."""
        self._failure = failure
        self._items.clear()
        self._bytes = 0
        self._filled.set()

    async def take(self) -> Item:
        """Wait for the next item and return it. Raises the Failure that ended the reply."""
        while not self._items:
            if self._failure is not None:
                raise self._failure
            self._filled.clear()
            await self._filled.wait()
        item, size = self._items.popleft()
        self._bytes -= size
        return item


class Hub:
    """The current server and the running replies."""

    def __init__(self, aborted: Callable[[str], None]) -> None:
        self._aborted = aborted
        self._api: Api | None = None
        self._inboxes: dict[str, ReplyEvents] = {}
        self._parents: dict[str, str] = {}
        self._there = asyncio.Event()
        self.streaming = asyncio.Event()
        self.changed: Callable[[str], None] = _nothing
        """Called with each conversation that the server has changed while no reply runs in it."""

    @property
    def attached(self) -> bool:
        """Whether there is a server."""
        return self._api is not None

    async def api(self) -> Api:
        """Return the current server, waiting for one that is being restarted. Raises Failure."""
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
        """The project's directory, as the server names it; empty if there is no server."""
        return "" if self._api is None else self._api.directory

    def attach(self, api: Api) -> None:
        """Set the current server."""
        self._api = api
        self._there.set()

    def detach(self) -> None:
        """Remove the server, and fail the running replies."""
        self._api = None
        self._there.clear()
        self.lost()
        for inbox in self._inboxes.values():
            inbox.fail(Failure(Code.UNAVAILABLE, "the OpenCode server ended", retryable=True))

    def back(self) -> None:
        """Note that events arrive again; those before now were missed."""
        self.streaming.set()
        for inbox in self._inboxes.values():
            inbox.put(Stream.BACK)

    def lost(self) -> None:
        """Note that no events arrive."""
        if self.streaming.is_set():
            self.streaming.clear()
            for inbox in self._inboxes.values():
                inbox.put(Stream.LOST)

    @contextmanager
    def listening(
        self, conversation_id: str, children: Iterable[str] = ()
    ) -> Generator[ReplyEvents, None, None]:
        """Receive the events of a conversation and the asks of the agents started from it.

        children: agents of earlier replies, which this reply may use again.
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
        """Pass an event to the reply that it is about."""
        data = table(event, "properties")
        name = name_of(data, "sessionID")
        kind = text(event, "type")
        if kind == "session.created":
            parent = text(table(data, "info"), "parentID")
            root = self._parents.get(parent, parent)
            if name and root in self._inboxes:
                self._parents[name] = root
        if kind == "session.error" and not name:  # it may be about any running reply
            for each in self._inboxes.values():
                each.put(event, size)
        if name not in self._inboxes and (kind.startswith(_OF_CHILDREN) or _is_call(kind, data)):
            name = self._parents.get(name, "")
        inbox = self._inboxes.get(name)
        if inbox is not None:
            inbox.put(event, size)
        elif kind == "session.updated" and not text(table(data, "info"), "parentID"):
            self.changed(name)


def _nothing(name: str) -> None:
    pass


def _is_call(kind: str, data: Table) -> bool:
    return kind == "message.part.updated" and text(table(data, "part"), "type") == "tool"
