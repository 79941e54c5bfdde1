"""The events of a followed conversation, turn by turn, with a look ahead.

A snapshot is taken apart, so that a turn that is joined in the middle, or comes again after a
session was lost, consists of the same events as one that was followed from its beginning.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from callboard.v1.chat_pb2 import (
    AskClosed,
    AskEvent,
    ChatCompleted,
    ChatError,
    ChatToken,
    ConversationEvent,
    HistoryEntry,
    ReasoningToken,
    SteerEvent,
    ToolProgressEvent,
    TurnInfo,
    TurnState,
)
from transport.client import Client
from transport.client.conversation_state import ConversationState
from transport.client.followed_turn import ENDED
from transport.client.following import TurnAnswer
from transport.errors import TransportError

Shown: TypeAlias = TurnAnswer | SteerEvent | ChatError
"""An event of a turn."""

_ARMS: Final = frozenset(
    {
        "turn", "token", "reasoning", "tool_call", "tool_progress", "tool_result", "plan", "usage",
        "ask", "ask_closed", "notice", "completed", "error", "steered",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TurnEvent:
    """An event of the turn with this id."""

    turn_id: str
    event: Shown


@dataclass(frozen=True, slots=True)
class Again:
    """All open turns come from their beginning; those that are not among `turns` have ended.

    asks: the ids of the asks that are open. number: counts the snapshots of a feed, from 1.
    """

    turns: frozenset[str]
    asks: frozenset[str]
    number: int


@dataclass(frozen=True, slots=True)
class Over:
    """Following has ended with this error, and nothing more comes."""

    error: TransportError


@dataclass(frozen=True, slots=True)
class Left:
    """The person leaves."""


@dataclass(frozen=True, slots=True)
class Typed:
    """The person has begun to type."""


Item: TypeAlias = TurnEvent | Again | Over | Left | Typed


class Feed:
    """Follows a conversation in a task of its own, from a snapshot on. `close` ends it.

    Waiting for an item may be cancelled; no item is lost by that.
    """

    def __init__(self, client: Client, conversation_id: str) -> None:
        self.client: Client = client
        self.begun: asyncio.Event = asyncio.Event()
        """Set once the first snapshot, or an error, has arrived."""
        self._items: deque[Item] = deque()
        self._arrived = asyncio.Event()
        self._pressing = 0
        self.snapshots: int = 0
        """How many snapshots have arrived."""
        self._parts: list[ConversationEvent] = []
        self._following = client.follow(conversation_id)
        self._task = asyncio.create_task(self._follow(), name="chat feed")

    @property
    def state(self) -> ConversationState:
        """The conversation as of the last event that has arrived, taken or not."""
        return self._following.state

    @property
    def over(self) -> bool:
        """Whether following has ended."""
        return self._task.done()

    async def close(self) -> None:
        """Stop following."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def leave(self) -> None:
        """Make `Left` the next item."""
        self._put_first(Left())

    def type(self) -> None:
        """Make `Typed` the next item."""
        self._put_first(Typed())

    def _put_first(self, item: Item) -> None:
        self._items.appendleft(item)
        self._pressing += _presses(item)
        self._arrived.set()

    # -- reading -----------------------------------------------------------------------------

    def head(self) -> Item | None:
        """Return the next item without taking it; None if there is none yet."""
        return self._items[0] if self._items else None

    def has(self, turn_id: str) -> bool:
        """Return whether an item of this turn has arrived and was not taken."""
        return any(isinstance(item, TurnEvent) and item.turn_id == turn_id for item in self._items)

    def take(self) -> Item:
        """Take the next item, which must be there."""
        item = self._items.popleft()
        self._pressing -= _presses(item)
        return item

    async def next(self) -> Item:
        """Take the next item, waiting for it if necessary."""
        while not self._items:
            await self.more()
        return self.take()

    async def more(self) -> None:
        """Wait until another item has arrived."""
        self._arrived.clear()
        await self._arrived.wait()

    def is_settled(self, ask_id: str) -> bool:
        """Return whether the ask is not open any more, by the items that have arrived."""
        return any(_settles(item, ask_id) for item in self._items)

    async def settled(self, ask_id: str) -> None:
        """Wait until the ask is not open any more, or nothing more comes."""
        while not self.is_settled(ask_id):
            await self.more()

    def is_pressing(self) -> bool:
        """Return whether more than output has arrived: an ask, or a turn's beginning or end."""
        return self._pressing > 0

    async def pressing(self) -> None:
        """Wait until more than output has arrived."""
        while not self.is_pressing():
            await self.more()

    # -- following ---------------------------------------------------------------------------

    async def _follow(self) -> None:
        try:
            async for event in self._following:
                self._put(*self._items_of(event))
        except TransportError as error:
            self._put(Over(error))

    def _put(self, *items: Item) -> None:
        if items:
            self._items.extend(items)
            self._pressing += sum(map(_presses, items))
            self.begun.set()
            self._arrived.set()

    def _items_of(self, event: ConversationEvent) -> Iterator[Item]:
        if not event.HasField("snapshot"):
            yield from _turn_events(event.turn_id, event)
            return
        if event.snapshot.HasField("info"):  # the first part
            self._parts = []
        self._parts.append(event)
        if not event.snapshot.more:
            parts, self._parts = self._parts, []
            self.snapshots += 1
            yield from _taken_apart(parts, self.snapshots)


def _settles(item: Item, ask_id: str) -> bool:
    match item:
        case TurnEvent(_, AskClosed() as closed):
            return closed.ask_id == ask_id
        case Again():
            return ask_id not in item.asks
        case Over():
            return True
        case _:
            return False


def _presses(item: Item) -> bool:
    match item:
        case TurnEvent(_, TurnInfo() as info):
            queued = info.state == TurnState.TURN_STATE_QUEUED
            return not queued and info.state not in ENDED
        case TurnEvent(_, event):
            return isinstance(event, AskEvent | ChatCompleted | ChatError)
        case Typed():
            return False
        case _:
            return True


def _taken_apart(parts: list[ConversationEvent], number: int) -> Iterator[Item]:
    """Yield the turns of a snapshot as their events."""
    events = [
        event
        for part in parts
        for turn in part.snapshot.turns
        for inner in (ConversationEvent(turn=turn.info), *turn.events)
        for event in _turn_events(turn.info.id, inner)
        if not isinstance(event.event, ToolProgressEvent)  # only news are worth a line
    ]
    asked = {event.event.ask_id for event in events if isinstance(event.event, AskEvent)}
    closed = {event.event.ask_id for event in events if isinstance(event.event, AskClosed)}
    yield Again(frozenset(event.turn_id for event in events), frozenset(asked - closed), number)
    yield from events


def _turn_events(turn_id: str, event: ConversationEvent) -> Iterator[TurnEvent]:
    """Yield what the event says about a turn, if anything."""
    arm = event.WhichOneof("event")
    if arm in _ARMS:
        shown: Shown = getattr(event, arm)
        named = shown.id if isinstance(shown, TurnInfo) else ""
        if turn_id or named:
            yield TurnEvent(turn_id or named, shown)


def events_of(entry: HistoryEntry) -> Iterator[Shown]:
    """Yield an entry of the history as events of its turn.

    A message of the user is one that was handed to the running turn.
    """
    match entry.WhichOneof("entry"):
        case "user_text":
            yield SteerEvent(text=entry.user_text, attachments=entry.attachments)
        case "assistant_text":
            yield ChatToken(text=entry.assistant_text)
        case "reasoning_text":
            yield ReasoningToken(text=entry.reasoning_text)
        case "tool_call":
            yield entry.tool_call
        case "tool_result":
            yield entry.tool_result
        case "ask":
            yield entry.ask
        case "ask_closed":
            yield entry.ask_closed
        case "error":
            yield entry.error
        case _:
            pass
    if entry.HasField("completed"):
        yield entry.completed
