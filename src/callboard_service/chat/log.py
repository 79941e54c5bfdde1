"""The log of one conversation: its events with their positions, for senders and followers."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeAlias

import msgspec

from actors import EventLog, EventReader, Shared, shared
from callboard.v1.chat_pb2 import (
    ChatCompleted,
    ChatError,
    ChatToken,
    CommandList,
    ConversationEvent,
    OptionList,
    ReasoningToken,
    SessionInfo,
    TurnInfo,
)
from callboard_service.backends.base import TurnEvent
from callboard_service.backends.token_text import TextToken
from callboard_service.chat.record import EVENT_BYTES, as_event

KEPT_BYTES: Final = 1024 * 1024
"""Bytes of events that are kept besides those of open turns."""

COUNTER_BITS: Final = 40

Token: TypeAlias = ChatToken | ReasoningToken
PushedToken: TypeAlias = Token | TextToken


class Positions:
    """Issues the positions of all conversations of a service.

    A position is a run number and a counter. run: returns the number of this run of the service,
    which is larger than that of any earlier one; it is asked once. Because one counter serves the
    whole process, no position is issued twice, whatever happens to a conversation's actor.
    """

    def __init__(self, run: Callable[[], int]) -> None:
        self._run = run
        self._last = 0

    @property
    def last(self) -> int:
        """The newest position, or the one before the first of this run."""
        if not self._last:
            self._last = self._run() << COUNTER_BITS
        return self._last

    def next(self, count: int = 1) -> int:
        """Issue `count` positions and return the last of them."""
        self._last = (self._last or self.last) + count
        return self._last


LogPayload: TypeAlias = (
    TurnEvent | TurnInfo | ChatCompleted | ChatError | SessionInfo | OptionList | CommandList
)


class LogEvent(msgspec.Struct, gc=False):
    """An event in the log. turn_id: empty for an event of the conversation itself.

    No event refers back to what holds it. So the garbage collector need not visit the events, of
    which a busy log keeps tens of thousands.
    """

    position: int
    turn_id: str


class Tokens(LogEvent, gc=False):
    """Neighbouring tokens of one turn, with consecutive positions that end at the event's own.

    message: that of a single token, while it is being appended: for later readers, the text is
    enough.
    """

    kind: type[Token]
    texts: Sequence[str]
    message: PushedToken | None = None


class Single(LogEvent, gc=False):
    """An event that is a message of the contract.

    text: the user's message, with the first TurnInfo of a turn. It is the turn's own object: a
    TurnInfo with the message would be a copy of it for as long as the turn is open.
    """

    payload: LogPayload
    text: str = ""


class ConversationLog:
    """The events of one conversation while its actor is alive."""

    def __init__(self, positions: Positions) -> None:
        self._positions = positions
        self.events: EventLog[LogEvent] = EventLog(KEPT_BYTES, positions.last)
        self.removed_at: int = -1
        """Where a turn was last removed. Followers at this position or before need a snapshot: no
        event says that a turn is gone."""
        self._read: tuple[int, int] = (0, 0)
        """The positions of the first and the last of the events that a follower read last."""
        self._parts: list[Shared[ConversationEvent]] = []
        """These events as followers get them."""

    @property
    def last(self) -> int:
        """The position of the newest event."""
        return self.events.last

    def reader(self, after: int, *, paces: bool = True) -> EventReader[LogEvent]:
        """Return a reader of the events after a position; paces: see `EventLog.reader`."""
        return self.events.reader(after, paces=paces)

    def add(self, turn_id: str, payload: LogPayload, text: str = "") -> None:
        """Append an event. text: the user's message, for the first TurnInfo of a turn."""
        size = payload.ByteSize() + EVENT_BYTES
        size += len(text) if text.isascii() else len(text.encode())
        position = self._positions.next()
        self.events.append(Single(position, turn_id, payload, text), position, size)

    def add_tokens(self, turn_id: str, kind: type[Token], texts: Sequence[str], size: int) -> None:
        """Append tokens of one kind, `size` bytes of text in total."""
        position = self._positions.next(len(texts))
        tokens = Tokens(position, turn_id, kind, texts)
        self.events.append(tokens, position, size + EVENT_BYTES * len(texts))

    def add_token(
        self, turn_id: str, kind: type[Token], token: PushedToken, texts: tuple[str], size: int
    ) -> bool:
        """Append one token with `size` bytes of text, as `add_tokens` does.

        Returns whether the turn may go on, as `EventLog.append` does.
        """
        position = self._positions.next()
        tokens = Tokens(position, turn_id, kind, texts, token)
        goes_on = self.events.append(tokens, position, size + EVENT_BYTES)
        tokens.message = None
        return goes_on

    def pin(self, after: int | None) -> None:
        """Keep every event after this position, whatever its size; None: no longer."""
        self._read, self._parts = (0, 0), []  # not for as long as the conversation is idle
        self.events.pin(after)

    def shared(self, events: Sequence[LogEvent]) -> list[Shared[ConversationEvent]]:
        """Return neighbouring events of this log as its followers get them.

        Followers that keep up read the same events one after the other, so these are encoded once.
        """
        read = events[0].position, events[-1].position
        if read != self._read:
            self._parts = [shared(event) for event in conversation_events(events)]
            self._read = read
        return self._parts


def turn_info(event: Single, info: TurnInfo) -> TurnInfo:
    """Return the TurnInfo of an event, with the user's message if the event has it."""
    if not event.text:
        return info
    whole = TurnInfo(text=event.text)
    whole.MergeFrom(info)
    return whole


def conversation_events(events: Sequence[LogEvent]) -> Iterator[ConversationEvent]:
    """Yield the events as followers get them; neighbouring tokens of a turn are joined."""
    texts: list[str] = []
    last: Tokens | None = None
    for event in events:
        if isinstance(event, Tokens):
            if last is not None and (last.kind, last.turn_id) != (event.kind, event.turn_id):
                yield _joined(last, texts)
                texts = []
            texts += event.texts
            last = event
            continue
        if last is not None:
            yield _joined(last, texts)
            texts, last = [], None
        assert isinstance(event, Single)
        yield _single(event, event.payload)
    if last is not None:
        yield _joined(last, texts)


def _joined(event: Tokens, texts: list[str]) -> ConversationEvent:
    text = "".join(texts)
    if event.kind is ReasoningToken:
        return ConversationEvent(
            position=event.position, turn_id=event.turn_id, reasoning=ReasoningToken(text=text)
        )
    return ConversationEvent(
        position=event.position, turn_id=event.turn_id, token=ChatToken(text=text)
    )


def _single(event: Single, payload: LogPayload) -> ConversationEvent:
    match payload:
        case TurnInfo():
            made = ConversationEvent(turn=turn_info(event, payload))
        case ChatCompleted():
            made = ConversationEvent(completed=payload)
        case ChatError():
            made = ConversationEvent(error=payload)
        case SessionInfo():
            made = ConversationEvent(info=payload)
        case OptionList():
            made = ConversationEvent(options=payload)
        case CommandList():
            made = ConversationEvent(commands=payload)
        case _:
            made = as_event(payload)
    made.position, made.turn_id = event.position, event.turn_id
    return made
