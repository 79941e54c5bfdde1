"""The output of a running turn, on its way from the backend to the log and to the store.

Tokens, notices, progress, plans and usage are sent first and stored within a second (`writer`);
tool calls, their results and asks are stored before anybody sees them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import Final, TypeAlias, cast, get_args

from actors import Burst, Failure, PushSource, Texts
from callboard.v1.chat_pb2 import (
    AnswerRequest,
    AskClosed,
    AskEvent,
    ChatCompleted,
    ChatNotice,
    ChatToken,
    HistoryEntry,
    ReasoningToken,
    SteerEvent,
    ToolCallEvent,
    ToolResultEvent,
)
from callboard_service.backends.base import Pushed, Reply, ReplyEvent
from callboard_service.backends.journal import TurnJournal
from callboard_service.backends.token_text import TextToken
from callboard_service.chat.log import ConversationLog, PushedToken, Token
from callboard_service.chat.record import Text, TurnRecord, as_entry
from callboard_service.store.kept_turns import KeptTurn
from callboard_service.store.turn_store import TurnOutputPieces

AT_ONCE: Final = 1024
"""Tokens of a Burst that are passed on together."""

_TOKENS: Final = frozenset({ChatToken, ReasoningToken})
_NO_TOKENS: Final = frozenset(get_args(ReplyEvent)) - _TOKENS

_STORED_FIRST: Final = (ToolCallEvent, ToolResultEvent, AskEvent, AskClosed)

Piece: TypeAlias = Text | HistoryEntry | int
"""Output that is not stored yet: tokens, an entry, or the bytes of text that a discard leaves."""


class UnstoredOutput:
    """The turns that have output which is not stored. `wake`: set by the actor that stores it."""

    def __init__(self) -> None:
        self.outputs: set[TurnOutput] = set()
        self.wake: Callable[[], None] | None = None

    def add(self, output: "TurnOutput") -> None:
        """Have the output of this turn stored within a second, with the next transaction."""
        if not self.outputs and self.wake is not None:
            self.wake()
        self.outputs.add(output)


class TurnOutput:
    """Takes the events of one running turn. `over`: it has ended, and later events are dropped.

    resumed: the turn was running when the service ended. Its stored output is kept until the
    backend yields an event of it, and with that the whole output again.
    """

    def __init__(
        self,
        conversation_id: str,
        turn_id: str,
        log: ConversationLog,
        journal: TurnJournal,
        unstored: UnstoredOutput,
        asks_changed: Callable[[], Awaitable[None]],
        *,
        detached: bool,
    ) -> None:
        self._conversation_id = conversation_id
        self._turn_id = turn_id
        self._log = log
        self._journal = journal
        self._unstored = unstored
        self._asks_changed = asks_changed
        self._detached = detached
        self._pieces: list[Piece] = []
        self.record: TurnRecord = TurnRecord()
        self.answers: asyncio.Queue[AnswerRequest] = asyncio.Queue()
        """The answers to asks that the backend has yet to take."""
        self.completed: ChatCompleted | None = None
        self.failure: Failure | None = None
        self.steers: dict[str, KeptTurn] = {}
        """The messages that were handed to the turn and that it has not used, by their names."""
        self.used: dict[str, KeptTurn] = {}
        """Those that it used before the service ended; a resumed reply uses them again."""
        self.over: bool = False
        self.resumed: bool = False

    async def take(self, event: Reply) -> None:
        """Pass an event on, and wait until the turn may go on. Raises Failure."""
        if self.resumed:
            await self._journal.begin_again(self._conversation_id, self._turn_id)
            self.resumed = False
        if isinstance(event, ChatToken | ReasoningToken):
            self._add_tokens(type(event), [event.text])
        elif isinstance(event, PushSource):
            await self._take_pushed(event)
        elif isinstance(event, Burst):
            for kind, texts in _batches(event.answers):
                self._add_tokens(kind, texts)
                if self._must_wait:
                    await self._log.events.wanted()
            return
        elif isinstance(event, ChatCompleted):
            self.completed = event
            return
        elif not self.over:
            await self._add(event)
        if self._must_wait:
            await self._log.events.wanted()

    async def _take_pushed(self, source: PushSource[ReplyEvent]) -> None:
        """Pass on all events of a source, which calls `_put` with each token."""
        while True:
            try:
                item = await source.push(self._put, _NO_TOKENS)
            except StopAsyncIteration:
                return
            if item is not None:
                await self.take(item)
            elif self._must_wait:
                await self._log.events.wanted()

    def _put(self, event: Pushed) -> bool:
        """Pass a token on; return whether the turn may go on at once. Raises Failure."""
        token: PushedToken = event  # type: ignore[assignment]  # a push stops at others: `_NO_TOKENS`
        if self.over:
            return not self._must_wait
        text = token.text
        kind = ChatToken if isinstance(token, TextToken) else type(token)
        reasoning = kind is ReasoningToken
        size = self.record.add_token(text, reasoning=reasoning)
        goes_on = self._log.add_token(self._turn_id, kind, token, (text,), size)
        last = self._pieces[-1] if self._pieces else None
        if type(last) is Text and last.reasoning is reasoning:  # `_text_to_store` inlined
            last.pieces.append(text)
        else:
            self._text_to_store(reasoning=reasoning).pieces.append(text)
        return goes_on or self._detached

    @property
    def _must_wait(self) -> bool:
        return not self._detached and self._log.events.is_ahead()

    async def entries(self) -> list[HistoryEntry]:
        """Return the turn's output for the history. Raises Failure."""
        if not self.resumed:
            return self.record.entries()
        stored = await self._journal.turn_entries(self._conversation_id, self._turn_id)
        return [entry for entry in stored if entry.WhichOneof("entry") != "user_text"]

    async def store(self) -> None:
        """Store what is not stored yet. Raises Failure."""
        unstored = self.unstored()
        if unstored is not None:
            await self._journal.add_output([unstored])

    def unstored(self) -> TurnOutputPieces | None:
        """Return what is not stored yet, which the caller stores; None if there is nothing."""
        pieces, self._pieces = self._pieces, []
        if not pieces:
            return None
        entries = [piece.entry() if isinstance(piece, Text) else piece for piece in pieces]
        return TurnOutputPieces(self._conversation_id, self._turn_id, entries)

    def _add_tokens(self, kind: type[Token], texts: Sequence[str]) -> None:
        if self.over:
            return
        size = self.record.add_tokens(texts, reasoning=kind is ReasoningToken)
        self._log.add_tokens(self._turn_id, kind, texts, size)
        self._text_to_store(reasoning=kind is ReasoningToken).pieces += texts

    def _text_to_store(self, *, reasoning: bool) -> Text:
        """Return the Text to which the next tokens of one kind are added, to be stored soon."""
        last = self._pieces[-1] if self._pieces else None
        if isinstance(last, Text) and last.reasoning is reasoning:
            return last
        text = Text(reasoning=reasoning)
        self._store_soon(text)
        return text

    def _store_soon(self, piece: Piece) -> None:
        if not self._pieces:
            self._unstored.add(self)
        self._pieces.append(piece)

    async def _add(self, event: ReplyEvent) -> None:
        assert not isinstance(event, ChatToken | ReasoningToken | ChatCompleted)
        if isinstance(event, SteerEvent):
            used = await self._use(event.message_id)
            if used is None or self.over:
                return
            event = used
        elif isinstance(event, _STORED_FIRST):
            self.record.check(event)
            entry = as_entry(event)
            assert entry is not None
            self._pieces.append(entry)
            await self.store()
            if self.over:
                return
        # In one step: the log has every event that a snapshot has.
        self.record.add(event)
        self._log.add(self._turn_id, event)
        if isinstance(event, ChatNotice) and event.discard_tokens:
            self._store_soon(event.keep_text_bytes)
        if isinstance(event, AskEvent | AskClosed):
            await self._asks_changed()

    async def _use(self, name: str) -> SteerEvent | None:
        """Make a message that was handed to the turn part of it. Raises Failure.

        Returns None if there is none of this name.
        """
        kept = self.steers.get(name) or self.used.get(name)
        if kept is None:
            return None
        event = steered(kept)
        self.record.check(event)
        entry = as_entry(event)
        assert entry is not None
        if self.used.pop(name, None) is not None:
            self._pieces.append(entry)
            await self.store()
            return event
        await self.store()
        await self._journal.hand_over(self._conversation_id, kept.id, self._turn_id, entry)
        self.steers.pop(name, None)
        return event


def steered(kept: KeptTurn) -> SteerEvent:
    """Return the event of a message that became part of a running turn."""
    return SteerEvent(message_id=kept.message_id, text=kept.text, attachments=kept.attachments)


def _batches(answers: Iterable[ReplyEvent]) -> Iterator[tuple[type[Token], Sequence[str]]]:
    """Yield the texts of tokens, up to AT_ONCE of one kind at a time."""
    if isinstance(answers, Texts):
        for first in range(0, len(answers.texts), AT_ONCE):
            yield cast("type[Token]", answers.kind), answers.texts[first : first + AT_ONCE]
        return
    pulled = iter(answers)
    while tokens := list(islice(pulled, AT_ONCE)):
        for kind, run in groupby(tokens, type):
            assert issubclass(kind, ChatToken | ReasoningToken), "a Burst holds only tokens"
            yield kind, [token.text for token in cast("Iterator[Token]", run)]
