"""Conversations in SQLite, for the backends that keep their own: one actor owns the store."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final, Literal, TypeAlias, TypeVar

from actors import Actor, ActorRef, ChildSpec, Code, Failure
from callboard.v1.chat_pb2 import (
    ChatError,
    ChatNotice,
    History,
    HistoryEntry,
    SessionInfo,
    SessionList,
)
from callboard_service.backends.base import Health
from callboard_service.errors import BackendFailed
from callboard_service.pages import PAGE_BYTES, TURNS_BYTES
from callboard_service.store.store import (
    ConversationStore,
    RecentTurns,
    StoreBroken,
    StoreCrowded,
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreLost,
    StoreRefused,
    UnknownConversation,
    UnknownEntry,
)

R = TypeVar("R")
Role = TypeVar("Role", bound=str)

DATABASE: Final = "conversations.sqlite3"
"""The file in the data folder; all backends that keep conversations share it."""

CUT_OFF: Final = (GeneratorExit, asyncio.CancelledError)
"""How a reply ends that is not left to end: by a cancel, a deadline, the end of its session."""


RETRY_AFTER_MS: Final = 1000
"""What a client is advised while the database is opened anew or cannot be written."""

REOPEN_WAIT: Final = 5.0
"""Seconds that a call waits while the database is opened anew."""

PROBE_AFTER: Final = 1.0
PROBE_AT_LATEST: Final = 30.0
"""Seconds until it is tried whether a trouble is over, for the first time and at most."""


QUIET: Final = 60.0
"""Seconds in which the same line is not reported again."""

MAX_SAID: Final = 100
"""Lines that are remembered for that."""


@dataclass(frozen=True, slots=True)
class Reopen:
    """The open database cannot be relied on any more."""

    store: ConversationStore
    reason: StoreBroken


@dataclass(frozen=True, slots=True)
class Trouble:
    """The database cannot be used for now."""


@dataclass(frozen=True, slots=True)
class Probe:
    """See whether the database can be used again, `pause` seconds after the look before."""

    pause: float


KeeperMessage: TypeAlias = Reopen | Trouble | Probe


class StoreKeeper(Actor[KeeperMessage]):
    """Opens the store when it starts, closes it when it stops, and mends it in between.

    The store is asked by plain calls: it has its own threads.
    """

    def __init__(self, owner: "StoredConversations") -> None:
        self._owner = owner
        self._probing = False

    async def started(self) -> None:
        """Open the store. Raises BackendFailed."""
        await self._owner.open()
        self._owner.keeper = self.context.ref
        await self._look(PROBE_AFTER)

    async def receive(self, message: KeeperMessage) -> None:
        """Open the store anew, or look whether it can be used again. Raises BackendFailed."""
        match message:
            case Reopen(store, reason):
                await self._owner.reopen(store, reason)
                await self._look(PROBE_AFTER)
            case Trouble():
                self._look_in(PROBE_AFTER)
            case Probe(pause):
                self._probing = False
                await self._look(min(2 * pause, PROBE_AT_LATEST))

    async def _look(self, pause: float) -> None:
        """See whether a trouble is over; if not, look again in `pause` seconds."""
        if not await self._owner.probe():
            self._look_in(pause)

    def _look_in(self, pause: float) -> None:
        if not self._probing:
            self._probing = True
            self.context.after(pause, Probe(pause))

    async def stopped(self) -> None:
        """Close the store."""
        await self._owner.close()


class StoredConversations:
    """The part of a ChatBackend that keeps conversations."""

    def __init__(self, path: Path | Literal[":memory:"], report: Callable[[str], None]) -> None:
        self._path = path
        self._report = report
        self._store: ConversationStore | None = None
        self.keeper: ActorRef[KeeperMessage] | None = None
        self._faults: dict[str, str] = {}
        self._mended: asyncio.Event | None = None
        self._said: dict[str, float] = {}

    def store_spec(self) -> ChildSpec:
        """Return the actor that owns the store."""
        return ChildSpec("store", lambda: StoreKeeper(self))

    def store_health(self) -> Health:
        """Return whether conversations can be read and written, as far as it is known."""
        if self._store is None:
            return Health(ready=False, detail="the conversations are not open")
        trouble = next(iter(self._faults.values()), "")
        return Health(ready=not trouble, detail=trouble)

    def hurry(self, seconds: float) -> None:
        """Have what is still to be kept wait for at most so many seconds."""
        if self._store is not None:
            self._store.hurry(seconds)

    async def open(self, *, thorough: bool = False) -> None:
        """Open the store. Raises BackendFailed with one line for a person."""
        try:
            self._store = await ConversationStore.open(
                self._path, report=self._report, thorough=thorough
            )
        except StoreRefused as error:
            raise BackendFailed(str(error)) from error

    async def reopen(self, store: ConversationStore, reason: StoreBroken) -> None:
        """Open the store anew if `store` is still the one that is open. Raises BackendFailed."""
        if self._store is not store:
            return
        damaged = isinstance(reason, StoreDamaged)
        self._store = None
        try:
            await store.close(untouched=damaged)
            await self.open(thorough=damaged)
        finally:
            self._end_wait()

    async def probe(self) -> bool:
        """Return True if the store can be read and written, which ends a trouble."""
        store = self._store
        if store is None or not self._faults:
            return True
        try:
            await store.probe()
        except StoreError:
            return False
        self._faults.clear()
        return True

    async def close(self) -> None:
        """Close the store."""
        store, self._store = self._store, None
        self._end_wait()
        if store is not None:
            await store.close()

    def _end_wait(self) -> None:
        """Let the calls go on that wait while the store is opened anew."""
        mended, self._mended = self._mended, None
        if mended is not None:
            mended.set()

    @property
    def is_open(self) -> bool:
        """The conversations can be read and written, as far as it is known."""
        return self.store_health().ready

    async def conversations(
        self, limit: int = 0, page: str = "", at_most_bytes: int = PAGE_BYTES
    ) -> SessionList:
        """Return a page of them, the most recently changed first; see `ChatBackend`."""
        return await self._read(lambda store: store.conversations(limit, page, at_most_bytes))

    async def create(self, title: str) -> SessionInfo:
        """Create a conversation."""
        return await self._write(lambda store: store.create(title))

    async def get(self, conversation_id: str) -> SessionInfo:
        """Return one conversation. Raises Failure: NOT_FOUND."""
        return await self._read(lambda store: store.get(conversation_id))

    async def delete(self, conversation_id: str) -> None:
        """Delete it. Raises Failure: NOT_FOUND."""
        await self._write(lambda store: store.delete(conversation_id))

    async def history(
        self, conversation_id: str, limit: int, before: str, at_most_bytes: int = PAGE_BYTES
    ) -> History:
        """Return a page of entries, oldest first; see `ChatBackend`."""
        return await self._read(
            lambda store: store.history(
                conversation_id, limit=limit, before=before, at_most_bytes=at_most_bytes
            )
        )

    async def turns(self, conversation_id: str, at_most_bytes: int = TURNS_BYTES) -> RecentTurns:
        """Return what a model is given: the newest turns that fit, oldest first.

        Neighbours of one role are one turn: the user speaks twice in a row after a reply that
        failed, and many models take the roles in alternation alone. Raises Failure: NOT_FOUND.
        """
        turns = await self._read(lambda store: store.turns(conversation_id, at_most_bytes))
        return RecentTurns(joined(turns), turns.left_out)

    async def keep(self, conversation_id: str, *entries: HistoryEntry) -> None:
        """Add entries, all or none. Raises Failure: NOT_FOUND."""
        if entries:
            await self._write(lambda store: store.append(conversation_id, *entries))

    async def _read(self, call: Callable[[ConversationStore], Awaitable[R]]) -> R:
        return await self._carry_out("reading", call)

    async def _write(self, call: Callable[[ConversationStore], Awaitable[R]]) -> R:
        return await self._carry_out("writing", call)

    async def _carry_out(self, kind: str, call: Callable[[ConversationStore], Awaitable[R]]) -> R:
        """Return what the store answers, or raise what it says in the contract's codes."""
        store = await self._opened()
        try:
            result = await call(store)
        except (UnknownConversation, UnknownEntry, StoreCrowded) as error:
            raise _failure(error) from error
        except StoreError as error:
            if store is self._store:
                self._note_fault(kind, error, store)
            raise _failure(error) from error
        self._faults.pop(kind, None)
        return result

    async def _opened(self) -> ConversationStore:
        if self._mended is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(REOPEN_WAIT):
                    await self._mended.wait()
        if self._store is None:
            message = "the conversations are not open"
            raise Failure(Code.UNAVAILABLE, message, retryable=True, retry_after_ms=RETRY_AFTER_MS)
        return self._store

    def _note_fault(self, kind: str, error: StoreError, store: ConversationStore) -> None:
        """Report a trouble that is new, and have it mended."""
        new = not self._faults
        if kind not in self._faults:
            self._faults[kind] = str(error)
            if isinstance(error, StoreLost | StoreDamaged):
                self._report(str(error))
            else:
                self._say(str(error))
        if self.keeper is None:
            return
        if isinstance(error, StoreBroken):
            if self._mended is None:
                self._mended = asyncio.Event()
                self.keeper.tell(Reopen(store, error))
        elif new:
            self.keeper.tell(Trouble())

    def _say(self, line: str) -> None:
        """Report a line, unless it was reported a moment ago: troubles come and go."""
        now = time.monotonic()
        said = self._said.get(line)
        if said is None or now - said >= QUIET:
            if len(self._said) >= MAX_SAID:
                self._said.clear()
            self._said[line] = now
            self._report(line)


def cut_off() -> HistoryEntry:
    """What is kept at the end of such a reply, so that its text is not taken for the whole."""
    message = "the reply was ended before it was complete"
    return HistoryEntry(error=ChatError(code=Code.CANCELLED.value, message=message))


def joined(turns: Sequence[tuple[Role, str]]) -> list[tuple[Role, str]]:
    """Return the turns with neighbours of one role as one, with an empty line between them."""
    groups = groupby(turns, key=lambda turn: turn[0])
    return [(role, "\n\n".join(text for _, text in group)) for role, group in groups]


def left_out(count: int) -> ChatNotice:
    """Return the notice about so many old messages that a model is not given."""
    message = f"The conversation is long: its oldest {count} messages were left out."
    return ChatNotice(message=message)


def refused_entry(failure: Failure) -> HistoryEntry:
    """Return what is kept behind a message that was refused: it is not sent to a model again."""
    return HistoryEntry(error=ChatError(code=failure.code.value, message=failure.message))


def _failure(error: StoreError) -> Failure:
    match error:
        case UnknownConversation():
            return Failure(Code.NOT_FOUND, str(error))
        case UnknownEntry():
            return Failure(Code.INVALID_ARGUMENT, str(error))
        case StoreFull() | StoreCrowded():
            code = Code.RESOURCE_EXHAUSTED
        case _:
            code = Code.UNAVAILABLE
    return Failure(code, str(error), retryable=True, retry_after_ms=RETRY_AFTER_MS)
