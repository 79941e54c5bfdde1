"""Conversations in SQLite, for backends that keep their own; one actor owns the store."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from actors import ActorRef, ChildSpec, Code, Failure, MailboxFull
from callboard.v1.chat_pb2 import (
    ChatNotice,
    History,
    SessionInfo,
    SessionList,
)
from callboard_service.backends.attachments import KeptAttachments
from callboard_service.backends.base import Health
from callboard_service.backends.store_keeper import (
    IndexLater,
    KeeperMessage,
    Reopen,
    StoreKeeper,
    Trouble,
)
from callboard_service.backends.stored_turns import StoredTurns
from callboard_service.backends.without_extras import WithoutExtras, lacks
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
    TurnConflict,
    UnknownConversation,
    UnknownEntry,
    UnknownTurn,
    UnknownUpload,
)

if TYPE_CHECKING:
    from callboard_service.backends.journal import TurnJournal

R = TypeVar("R")

DATABASE: Final = "conversations.sqlite3"
"""The file in the data folder; all backends that keep conversations share it."""

RETRY_AFTER_MS: Final = 1000
"""The delay advised to a client while the database is reopened or cannot be used."""

REOPEN_WAIT: Final = 5.0
"""Seconds that a call waits while the database is reopened."""

QUIET: Final = 60.0
"""Seconds within which the same line is not reported again."""

MAX_FRESH: Final = 10_000
"""Maximum remembered conversations that were created and not used yet."""

MAX_SAID: Final = 100
"""How many reported lines are remembered for QUIET."""


class StoredConversations(WithoutExtras):
    """The part of a ChatBackend that keeps conversations."""

    resumes: bool = False
    features: Collection[str] = ("fork", "search")

    def __init__(self, path: Path | Literal[":memory:"], report: Callable[[str], None]) -> None:
        self._path = path
        self._report = report
        self._store: ConversationStore | None = None
        # A file that was lost takes its run numbers along; none may come again in this process.
        self._run = 0
        self.journal: TurnJournal = StoredTurns(self)
        self.attachments: KeptAttachments = KeptAttachments(self, path)
        self.keeper: ActorRef[KeeperMessage] | None = None
        self._fresh: OrderedDict[str, None] = OrderedDict()
        """The newest conversations that were created and not used since."""
        self._faults: dict[str, str] = {}
        self._mended: asyncio.Event | None = None
        self._said: dict[str, float] = {}
        self._index_awaited = False
        """Whether the keeper was told of texts to index, and has not begun."""

    @property
    def data_folder(self) -> Path | None:
        """The folder of the store's file; None for a store in memory."""
        return self._path.parent if isinstance(self._path, Path) else None

    def store_spec(self) -> ChildSpec:
        """Return the actor that owns the store."""
        return ChildSpec("store", lambda: StoreKeeper(self))

    @property
    def run(self) -> int:
        """The store's run number; that of the last open store while none is."""
        return self._run

    def store_health(self) -> Health:
        """Return whether conversations can be read and written, as last known."""
        if self._store is None:
            return Health(ready=False, detail="the conversation store is not open")
        trouble = next(iter(self._faults.values()), "")
        return Health(ready=not trouble, detail=trouble)

    def hurry(self, seconds: float) -> None:
        """Let writes wait for another process for at most `seconds` from now on."""
        if self._store is not None:
            self._store.hurry(seconds)

    async def open(self, *, thorough: bool = False) -> None:
        """Open the store. Raises BackendFailed with a one-line message for a person.

        thorough: check the file more closely for damage.
        """
        try:
            self._store = await ConversationStore.open(
                self._path, report=self._report, thorough=thorough, run_above=self._run
            )
        except StoreRefused as error:
            raise BackendFailed(str(error)) from error
        self._run = self._store.run
        self._index_awaited = False  # a keeper that crashed has lost it
        try:
            if line := await self.attachments.open(self._store):
                self._report(line)
        except StoreError as error:  # the next call notices it too
            self._report(str(error))

    async def reopen(self, store: ConversationStore, reason: StoreBroken) -> None:
        """Reopen the store if `store` is still the open one. Raises BackendFailed."""
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
        """Return False if a faulty store still cannot be read and written.

        A successful probe clears the faults. Without a known fault, or while no store is open,
        return True without a probe.
        """
        store = self._store
        if store is None or not self._faults:
            return True
        try:
            await store.probe()
        except StoreError:
            return False
        self._faults.clear()
        return True

    def index_later(self) -> None:
        """Have new texts added to the search index within a minute."""
        if self.keeper is not None and not self._index_awaited:
            with suppress(MailboxFull):  # the next turn tells it
                self.keeper.tell(IndexLater())
                self._index_awaited = True

    async def index(self) -> None:
        """Add all texts to the search index, unless the store cannot write them now."""
        self._index_awaited = False
        with suppress(StoreError):  # a search does it then
            while self._store is not None and await self._store.index_some():
                pass

    async def close(self) -> None:
        """Close the store."""
        store, self._store = self._store, None
        self._end_wait()
        if store is not None:
            await store.close()
        await self.attachments.close()

    def _end_wait(self) -> None:
        """Release the calls that wait for the store to be reopened."""
        mended, self._mended = self._mended, None
        if mended is not None:
            mended.set()

    @property
    def is_open(self) -> bool:
        """Whether the conversations can be read and written, as last known."""
        return self.store_health().ready

    async def conversations(
        self,
        limit: int = 0,
        page: str = "",
        at_most_bytes: int = PAGE_BYTES,
        *,
        search: str = "",
        archived: bool = False,
    ) -> SessionList:
        """Return a page of conversations, most recently changed first; see `ChatBackend`."""
        return await self.read(
            lambda store: store.conversations(
                limit, page, at_most_bytes, search=search, archived=archived
            )
        )

    async def create(self, title: str, create_id: str = "", directory: str = "") -> SessionInfo:
        """Create a conversation and return it; see `ChatBackend`."""
        if directory:
            raise lacks("directory")
        return await self.create_with(title, create_id, {})

    async def create_with(
        self, title: str, create_id: str, chosen: Mapping[str, str]
    ) -> SessionInfo:
        """Create a conversation in which these values are chosen, by option. Raises Failure."""
        info = await self.write(lambda store: store.create(title, create_id, chosen))
        if not create_id:  # else it may be an older one
            self._fresh[info.id] = None
            if len(self._fresh) > MAX_FRESH:
                self._fresh.popitem(last=False)
        return info

    def take_fresh(self, conversation_id: str) -> bool:
        """Return whether this process created the conversation and has not used it since; once.

        Such a conversation has no turns, so callers need not read them.
        """
        if conversation_id not in self._fresh:
            return False
        del self._fresh[conversation_id]
        return True

    async def get(self, conversation_id: str) -> SessionInfo:
        """Return one conversation. Raises Failure: NOT_FOUND."""
        return await self.read(lambda store: store.get(conversation_id))

    async def update(
        self, conversation_id: str, title: str | None, archived: bool | None
    ) -> SessionInfo:
        """Change what is not None, and return the conversation. Raises Failure: NOT_FOUND."""
        return await self.write(lambda store: store.update(conversation_id, title, archived))

    async def fork(
        self, conversation_id: str, before: str, title: str, create_id: str
    ) -> SessionInfo:
        """Copy the ended turns before an entry, and return the copy; see `ChatBackend`."""
        return await self.write(lambda store: store.fork(conversation_id, before, title, create_id))

    async def delete(self, conversation_id: str) -> None:
        """Delete a conversation, and the attachments that no other one uses.

        Raises Failure: NOT_FOUND.
        """
        self._fresh.pop(conversation_id, None)
        await self.write(lambda store: store.delete(conversation_id))
        await self.attachments.clean_up()

    async def history(
        self, conversation_id: str, limit: int, before: str, at_most_bytes: int = PAGE_BYTES
    ) -> History:
        """Return a page of entries, oldest first; see `ChatBackend`."""
        return await self.read(
            lambda store: store.history(
                conversation_id, limit=limit, before=before, at_most_bytes=at_most_bytes
            )
        )

    async def turns(self, conversation_id: str, at_most_bytes: int = TURNS_BYTES) -> RecentTurns:
        """Return the turns to send to a model: the newest that fit, oldest first.

        Consecutive turns of one role are joined: the user speaks twice in a row after a failed
        reply, and many models accept only alternating roles. A reply whose message does not fit is
        left out too, because many accept only a user's turn as the first.

        Raises Failure: NOT_FOUND.
        """
        turns = await self.read(lambda store: store.turns(conversation_id, at_most_bytes))
        return turns.for_model()

    async def read(self, call: Callable[[ConversationStore], Awaitable[R]]) -> R:
        """Call the store and return its result. Raises Failure."""
        return await self._carry_out("reading", call)

    async def write(self, call: Callable[[ConversationStore], Awaitable[R]]) -> R:
        """Call the store to change something and return its result. Raises Failure."""
        return await self._carry_out("writing", call)

    async def _carry_out(self, kind: str, call: Callable[[ConversationStore], Awaitable[R]]) -> R:
        """Call the store and return its result; translate its errors into Failure."""
        store = await self._opened()
        try:
            result = await call(store)
        except (
            UnknownConversation,
            UnknownEntry,
            UnknownTurn,
            UnknownUpload,
            TurnConflict,
            StoreCrowded,
        ) as error:
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
            message = "the conversation store is not open"
            raise Failure(Code.UNAVAILABLE, message, retryable=True, retry_after_ms=RETRY_AFTER_MS)
        return self._store

    def _note_fault(self, kind: str, error: StoreError, store: ConversationStore) -> None:
        """Report a new fault and ask the keeper to repair it."""
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
        """Report a line unless it was reported less than QUIET seconds ago."""
        now = time.monotonic()
        said = self._said.get(line)
        if said is None or now - said >= QUIET:
            if len(self._said) >= MAX_SAID:
                self._said.clear()
            self._said[line] = now
            self._report(line)


def left_out(count: int) -> ChatNotice:
    """Return the notice that the `count` oldest messages were not sent to the model."""
    message = f"The conversation is long: its oldest {count} messages were left out."
    return ChatNotice(message=message)


def _failure(error: StoreError) -> Failure:
    match error:
        case UnknownConversation() | UnknownTurn():
            return Failure(Code.NOT_FOUND, str(error))
        case UnknownEntry() | UnknownUpload():
            return Failure(Code.INVALID_ARGUMENT, str(error))
        case TurnConflict():
            return Failure(Code.FAILED_PRECONDITION, str(error))
        case StoreFull() | StoreCrowded():
            code = Code.RESOURCE_EXHAUSTED
        case _:
            code = Code.UNAVAILABLE
    return Failure(code, str(error), retryable=True, retry_after_ms=RETRY_AFTER_MS)
