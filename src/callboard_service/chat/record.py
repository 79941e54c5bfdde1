"""What a turn has produced so far. No I/O.

The record applies discards, so it holds what a client shows: its `events` go into snapshots, its
`entries` into the history. Tokens are counted too, because a discard names a number of them.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from actors import Code, Failure
from callboard.v1.chat_pb2 import (
    AskClosed,
    AskEvent,
    ChatNotice,
    ChatToken,
    ConversationEvent,
    HistoryEntry,
    PlanEvent,
    ReasoningToken,
    SteerEvent,
    ToolCallEvent,
    ToolProgressEvent,
    ToolResultEvent,
    UsageEvent,
)
from callboard_service.backends.base import TurnEvent
from callboard_service.store.pieces import CUT_OFF

MAX_TURN_BYTES: Final = 8 * 1024 * 1024
"""The most that one turn may produce."""

EVENT_BYTES: Final = 16
"""Bytes counted for each event besides its content."""


class Text:
    """Neighbouring tokens of one kind."""

    __slots__ = ("pieces", "reasoning")

    def __init__(self, *, reasoning: bool) -> None:
        self.reasoning: bool = reasoning
        self.pieces: list[str] = []

    def event(self) -> ConversationEvent:
        """Return the tokens as one event."""
        text = "".join(self.pieces)
        if self.reasoning:
            return ConversationEvent(reasoning=ReasoningToken(text=text))
        return ConversationEvent(token=ChatToken(text=text))

    def entry(self) -> HistoryEntry:
        """Return the tokens as one entry of the history."""
        text = "".join(self.pieces)
        if self.reasoning:
            return HistoryEntry(reasoning_text=text)
        return HistoryEntry(assistant_text=text)


class TurnRecord:
    """The events of one turn, with discards applied."""

    def __init__(self) -> None:
        self._items: list[Text | TurnEvent] = []
        self.text_bytes: int = 0
        """The UTF-8 size of the turn's text."""
        self._bytes = 0
        self.usage: UsageEvent | None = None
        """The latest usage that was reported."""
        self.asks: dict[str, AskEvent] = {}
        """The asks that are open."""
        self.calls: dict[str, None] = {}
        """The tool calls that have no result."""
        self.closed: dict[str, AskClosed] = {}
        """The asks that were settled."""

    def add_tokens(self, texts: Sequence[str], *, reasoning: bool) -> int:
        """Add tokens and return their size. Raises Failure, and adds none, if they do not fit."""
        size = _size("".join(texts))
        self._text(size, reasoning=reasoning).pieces += texts
        if not reasoning:
            self.text_bytes += size
        return size

    def add_token(self, text: str, *, reasoning: bool) -> int:
        """Add one token, as `add_tokens` does."""
        size = len(text) if text.isascii() else len(text.encode())
        last = self._items[-1] if self._items else None
        total = self._bytes + size + EVENT_BYTES
        if type(last) is Text and last.reasoning is reasoning and total <= MAX_TURN_BYTES:
            self._bytes = total  # nearly always, and the same as below
            last.pieces.append(text)
        else:
            self._text(size, reasoning=reasoning).pieces.append(text)
        if not reasoning:
            self.text_bytes += size
        return size

    def _text(self, size: int, *, reasoning: bool) -> Text:
        """Count text of this size, and return the Text to add it to. Raises Failure."""
        total = self._bytes + size + EVENT_BYTES
        if total > MAX_TURN_BYTES:
            raise too_long()
        self._bytes = total
        if self._items:
            last = self._items[-1]
            if isinstance(last, Text) and last.reasoning is reasoning:
                return last
        made = Text(reasoning=reasoning)
        self._items.append(made)
        return made

    def add(self, event: TurnEvent) -> int:
        """Add an event and return its size. Raises Failure, and adds nothing, if it does not fit.

        A notice that discards tokens gets `keep_text_bytes`. The end of an open ask, and
        of a tool call that was cut off, always fit.
        """
        size = self.check(event)
        self._bytes += size + EVENT_BYTES
        match event:
            case ChatNotice():
                if event.discard_tokens:
                    event.keep_text_bytes = self._discard(event.discard_tokens)
            case UsageEvent():
                self.usage = event
            case ToolCallEvent():
                self.calls[event.call_id] = None
            case ToolResultEvent():
                self.calls.pop(event.call_id, None)
            case AskEvent():
                self.asks[event.ask_id] = event
            case AskClosed():
                self.asks.pop(event.ask_id, None)
                self.closed[event.ask_id] = event
            case _:
                pass
        discards = isinstance(event, ChatNotice) and event.discard_tokens
        if not discards and not self._replaces_call(event):
            self._items.append(event)
        return size

    def check(self, event: TurnEvent) -> int:
        """Return the event's size. Raises Failure if it does not fit."""
        size = event.ByteSize()
        if self._bytes + size + EVENT_BYTES > MAX_TURN_BYTES and not self._closes(event):
            raise too_long()
        return size

    def _closes(self, event: TurnEvent) -> bool:
        """Return whether an event must fit, because it closes what is open."""
        if isinstance(event, ToolResultEvent):
            return event.output == CUT_OFF and event.call_id in self.calls
        return isinstance(event, AskClosed) and event.ask_id in self.asks

    def events(self) -> Iterator[ConversationEvent]:
        """Yield the events so far, as a snapshot has them: without position and turn."""
        ended = {item.call_id for item in self._items if isinstance(item, ToolResultEvent)}
        for item in self._items:
            if isinstance(item, Text):
                yield item.event()
            elif not (isinstance(item, ToolProgressEvent) and item.call_id in ended):
                yield as_event(item)

    def entries(self) -> list[HistoryEntry]:
        """Return what the history keeps of the turn, the user's message aside."""
        return as_entries(self._items)

    def _replaces_call(self, event: TurnEvent) -> bool:
        """Put a second event of a tool call in place of the first; return False if it is none."""
        if isinstance(event, ToolCallEvent):
            for place in range(len(self._items) - 1, -1, -1):
                item = self._items[place]
                if isinstance(item, ToolCallEvent) and item.call_id == event.call_id:
                    self._items[place] = event
                    return True
        return False

    def _discard(self, tokens: int) -> int:
        """Take back the last text tokens; return the bytes of text that are left."""
        count = tokens
        for place in range(len(self._items) - 1, -1, -1):
            item = self._items[place]
            if not isinstance(item, Text) or item.reasoning:
                continue
            first = max(len(item.pieces) - count, 0)
            count -= len(item.pieces) - first
            self.text_bytes -= _size("".join(item.pieces[first:]))
            del item.pieces[first:]
            if not item.pieces:
                del self._items[place]
            if not count:
                break
        return self.text_bytes


def _size(text: str) -> int:
    """Return the UTF-8 size of a text."""
    return len(text) if text.isascii() else len(text.encode())


def too_long() -> Failure:
    """Return the Failure of a turn that exceeds its bound."""
    return Failure(Code.RESOURCE_EXHAUSTED, f"the reply is longer than {MAX_TURN_BYTES} bytes")


def as_event(event: TurnEvent) -> ConversationEvent:
    """Return an event of a turn as an event of its conversation, without position and turn."""
    match event:
        case ToolCallEvent():
            return ConversationEvent(tool_call=event)
        case ToolProgressEvent():
            return ConversationEvent(tool_progress=event)
        case ToolResultEvent():
            return ConversationEvent(tool_result=event)
        case PlanEvent():
            return ConversationEvent(plan=event)
        case UsageEvent():
            return ConversationEvent(usage=event)
        case AskEvent():
            return ConversationEvent(ask=event)
        case AskClosed():
            return ConversationEvent(ask_closed=event)
        case ChatNotice():
            return ConversationEvent(notice=event)
        case SteerEvent():
            return ConversationEvent(steered=event)


def as_entries(items: Iterable[Text | TurnEvent]) -> list[HistoryEntry]:
    """Return the history's entries for items of a record."""
    return [entry for item in items if (entry := as_entry(item)) is not None]


def as_entry(item: Text | TurnEvent) -> HistoryEntry | None:
    """Return the history's entry for an item of a record; None if the history has none."""
    match item:
        case Text():
            return item.entry()
        case ToolCallEvent():
            return HistoryEntry(tool_call=item)
        case ToolResultEvent():
            return HistoryEntry(tool_result=item)
        case AskEvent():
            return HistoryEntry(ask=item)
        case AskClosed():
            return HistoryEntry(ask_closed=item)
        case SteerEvent():
            return HistoryEntry(user_text=item.text, attachments=item.attachments)
        case _:
            return None
