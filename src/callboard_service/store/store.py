"""Stores the conversations of the chat backends `local`, `openai` and `echo` in SQLite.

The store takes and returns the contract's messages. Its errors are listed in
`callboard_service.store.errors`.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final, Self
from uuid import uuid4

from callboard.v1.chat_pb2 import (
    History,
    HistoryEntry,
    SessionInfo,
    SessionList,
    UsageEvent,
)
from callboard_service.pages import (
    DEFAULT_PAGE,
    LARGEST_PAGE,
    PAGE_BYTES,
    TURNS_BYTES,
    bad_page,
    decode_position,
    page_of,
)
from callboard_service.store import conversations, histories
from callboard_service.store.attachments import AttachmentStore
from callboard_service.store.database import MAX_WAITING_ENTRIES, Database, Location
from callboard_service.store.errors import (
    StoreBroken,
    StoreBusy,
    StoreCrowded,
    StoreDamaged,
    StoreError,
    StoreFailed,
    StoreFenced,
    StoreFull,
    StoreLost,
    StoreRefused,
    TurnConflict,
    UnknownConversation,
    UnknownEntry,
    UnknownTurn,
    UnknownUpload,
)
from callboard_service.store.histories import NO_LIMIT, RecentTurns, conversation_key
from callboard_service.store.kept_turns import Admission, KeptTurn, NewTurn
from callboard_service.store.opening import open_database
from callboard_service.store.run import issue_run
from callboard_service.store.transaction import Transaction

__all__ = [
    "Admission",
    "ConversationStore",
    "KeptTurn",
    "NewTurn",
    "RecentTurns",
    "StoreBroken",
    "StoreBusy",
    "StoreCrowded",
    "StoreDamaged",
    "StoreError",
    "StoreFailed",
    "StoreFenced",
    "StoreFull",
    "StoreLost",
    "StoreRefused",
    "TurnConflict",
    "UnknownConversation",
    "UnknownEntry",
    "UnknownTurn",
    "UnknownUpload",
]

_ENSURE: Final = """
    INSERT INTO conversations (id, title, created_at, updated_at, create_id)
    VALUES (?, '', ?, ?, ?)
    ON CONFLICT (id) DO NOTHING
"""


class ConversationStore(AttachmentStore):
    """The conversations of one database file. Create with `open`.

    Changes survive the death of the process once the awaited call has returned. A call that fails,
    or whose caller is cancelled, takes effect entirely or not at all. Several processes may have
    the same file open, but only the one that has opened it last may write. Besides the errors named
    in its docstring, each call raises StoreBusy, StoreCrowded, StoreFull or StoreFailed, and each
    write StoreFenced.
    """

    def __init__(
        self,
        database: Database,
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
        run: int,
    ) -> None:
        super().__init__(database, clock, run)
        self._new_id = new_id
        self._first_page: tuple[object, SessionList] | None = None  # of the reading thread only

    @classmethod
    async def open(
        cls,
        path: Location,
        *,
        report: Callable[[str], None],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        new_id: Callable[[], str] = lambda: uuid4().hex,
        busy_timeout: float = 5.0,
        thorough: bool = False,
        run_above: int = 0,
    ) -> Self:
        """Open the database at `path`, creating the file (0600) and its folder (0700) if missing.

        busy_timeout: seconds that a call waits for another process's lock, including its wait for
        earlier calls. A damaged file is renamed in its folder and a new one is created; other
        users' permissions on the file are removed. Each is reported in one line to `report`.
        thorough: check more closely for damage. run_above: the run number is larger than this, even
        in a new file.

        Raises StoreRefused if the file is locked, belongs to a newer version or to another
        application, or cannot be created or written.
        """
        database = await open_database(
            path, busy_timeout=busy_timeout, clock=clock, report=report, thorough=thorough
        )
        try:
            run = await issue_run(database, run_above)
        except BaseException as error:
            await database.close()
            if isinstance(error, StoreError) and not isinstance(error, StoreRefused):
                raise StoreRefused(str(error)) from error
            raise
        return cls(database, clock, new_id, run)

    async def create(
        self, title: str, create_id: str = "", chosen: Mapping[str, str] | None = None
    ) -> SessionInfo:
        """Create a conversation. If `title` is blank, the first user text will set it.

        create_id: chosen by the client; if a conversation was created with it, and not deleted
        since, that one is returned. Empty: no such protection. chosen: values by option.
        """
        now, name = self._now(), self._new_id()

        def insert(transaction: Transaction) -> SessionInfo:
            return conversations.insert(transaction, name, title, now, create_id, chosen)

        return await self._write(insert)

    async def created_by(self, create_id: str) -> str:
        """Return the id of the conversation that was created with this id; empty if none was."""

        def select(transaction: Transaction) -> str:
            known = conversations.created_by(transaction, create_id)
            return "" if known is None else known.id

        return await self._database.read(select)

    async def ensure(self, conversation_id: str, create_id: str = "") -> None:
        """Create a conversation with this id, without a title, unless there is one.

        For a backend whose conversations are kept elsewhere and only their turns here.
        """
        now = self._now()

        def insert(transaction: Transaction) -> None:
            transaction.change(_ENSURE, conversation_id, now, now, create_id or None)

        await self._write(insert)

    async def conversations(
        self,
        limit: int = 0,
        page: str = "",
        at_most_bytes: int = PAGE_BYTES,
        *,
        search: str = "",
        archived: bool = False,
    ) -> SessionList:
        """Return a page of conversations, the most recently changed first.

        limit: the most conversations to return; 0: no limit but `at_most_bytes`, the encoded size
        of the page. page: `next_page` of the previous page. search: only those whose title or text
        contains this, whatever its case; one of less than three characters finds titles only.
        archived: also archived ones. The result is shared: do not modify it. Raises Failure:
        INVALID_ARGUMENT for a malformed `page`.
        """
        updated_at, key = decode_position(page) if page else (NO_LIMIT, "0")
        if not key.isdecimal() or int(key) > NO_LIMIT:
            raise bad_page()
        if len(search) >= conversations.SHORTEST_INDEXED:
            await self._index()

        def select(transaction: Transaction) -> SessionList:
            # Equal requests for the first page share one result until something is written.
            made_of = (transaction.state(), limit, at_most_bytes, search, archived)
            if not page and self._first_page is not None and self._first_page[0] == made_of:
                return self._first_page[1]
            after = updated_at, int(key)
            found = conversations.listed(transaction, after, search, archived=archived)
            made = page_of(found, limit, at_most_bytes)
            if not page:
                self._first_page = made_of, made
            return made

        return await self._database.read(select)

    async def _index(self) -> None:
        """Have the search index know all entries; a part at a time, so that others may write."""
        if await self._database.read(conversations.has_unindexed):
            while await self._write(conversations.index_texts):
                pass

    async def index_some(self) -> bool:
        """Add some entries to the search index, so that searches need not wait for it.

        Returns whether there may be more.
        """
        if not await self._database.read(conversations.has_unindexed):
            return False
        return await self._write(conversations.index_texts)

    async def update(
        self, conversation_id: str, title: str | None = None, archived: bool | None = None
    ) -> SessionInfo:
        """Change what is not None, and return the conversation. Raises UnknownConversation.

        A blank title is set by the next user text. The conversation keeps its place in the list.
        """

        def update(transaction: Transaction) -> SessionInfo:
            return conversations.update(transaction, conversation_id, title, archived)

        return await self._write(update)

    async def choices(self, conversation_id: str) -> dict[str, str]:
        """Return what was chosen: values by option. Raises UnknownConversation."""

        def select(transaction: Transaction) -> dict[str, str]:
            return conversations.choices(
                transaction, conversation_key(transaction, conversation_id)
            )

        return await self._database.read(select)

    async def choose(self, conversation_id: str, option: str, value: str) -> None:
        """Set the value of an option; an empty one removes it. Raises UnknownConversation."""
        await self._write(
            lambda transaction: conversations.choose(transaction, conversation_id, option, value)
        )

    async def usage(self, conversation_id: str) -> UsageEvent | None:
        """Return the latest usage; None if none is known. Raises UnknownConversation."""
        return await self._database.read(
            lambda transaction: conversations.usage(transaction, conversation_id)
        )

    async def fork(
        self,
        conversation_id: str,
        before: str = "",
        title: str = "",
        create_id: str = "",
        copy_id: str = "",
    ) -> SessionInfo:
        """Copy the ended turns before an entry into a new conversation, and return it.

        before: the first user text of a turn; empty: all ended turns. title: blank: that of the
        source. create_id: as in `create`. copy_id: that of the copy; empty: a new one. Turns keep
        their ids, and lose their message ids. Raises UnknownConversation, and UnknownEntry for any
        other entry.
        """
        now, name = self._now(), copy_id or self._new_id()

        def fork(transaction: Transaction) -> SessionInfo:
            return conversations.fork(
                transaction, conversation_id, before, name, title, now, create_id
            )

        return await self._write(fork)

    async def get(self, conversation_id: str) -> SessionInfo:
        """Return one conversation. Raises UnknownConversation."""
        return await self._database.read(
            lambda transaction: conversations.get(transaction, conversation_id)
        )

    async def delete(self, conversation_id: str) -> None:
        """Delete a conversation, its turns and its entries. Raises UnknownConversation."""

        def delete(transaction: Transaction) -> None:
            sql = "DELETE FROM conversations WHERE id = ?"
            if not transaction.change(sql, conversation_id):
                raise UnknownConversation(conversation_id)

        await self._write(delete)

    async def append(self, conversation_id: str, *entries: HistoryEntry) -> list[HistoryEntry]:
        """Append entries, all or none, and return copies with their ids and times.

        Ids are new. A time that is set is kept to the microsecond; a missing one becomes now. The
        conversation's `updated_at` becomes now, but never decreases. If the conversation has no
        title, the first line of the first user text, shortened to 60 characters, becomes it. If
        the first entry is a user text equal to the newest stored entry (errors aside), it replaces
        that entry and the errors after it, unless they belong to a turn that is open or has a
        message id.

        Raises UnknownConversation, and ValueError for an entry that is empty or dated outside the
        years 1 to 9999.
        """
        now = self._now()
        kept = [histories.dated(entry, now) for entry in entries]
        repeated = entries[0].user_text if entries else ""
        titles = (histories.title_of(entry.user_text) for entry in entries)
        heading = next((title for title in titles if title), "")

        def insert(transaction: Transaction, key: int) -> None:
            if repeated:
                histories.remove_unanswered(transaction, key, repeated)
            histories.insert_entries(transaction, key, kept)
            histories.touch(transaction, key, now, heading)

        await self._change(conversation_id, insert, at_most=MAX_WAITING_ENTRIES)
        return kept

    async def history(
        self,
        conversation_id: str,
        *,
        limit: int = 0,
        before: str = "",
        at_most_bytes: int = PAGE_BYTES,
    ) -> History:
        """Return a page of entries of all kinds, oldest first.

        The page holds the newest `limit` entries (0: 200; at most 1,000) before the entry `before`,
        or the newest of all if that is empty, as far as they fit into `at_most_bytes` encoded
        bytes; it always includes the newest of them. The cost does not grow with the conversation.

        Raises UnknownConversation, UnknownEntry if `before` is not an entry of the conversation,
        and ValueError for a negative `limit`.
        """
        if limit < 0:
            raise ValueError("a limit is not negative")
        size = min(limit or DEFAULT_PAGE, LARGEST_PAGE)

        def select(transaction: Transaction) -> History:
            key = conversation_key(transaction, conversation_id)
            return histories.page_of_history(transaction, key, size, before, at_most_bytes)

        return await self._database.read(select)

    async def turns(self, conversation_id: str, at_most_bytes: int = TURNS_BYTES) -> RecentTurns:
        """Return the user's and the assistant's texts to give to a model, oldest first.

        The newest texts are returned that together have at most `at_most_bytes` of UTF-8, with the
        bytes of their attachments, and always the newest one. Reasoning and empty replies are left
        out. A refused message (followed by INVALID_ARGUMENT and no reply) is left out too: it would
        be refused again, and so would every message after it. Raises UnknownConversation.
        """

        def select(transaction: Transaction) -> RecentTurns:
            key = conversation_key(transaction, conversation_id)
            return histories.recent_texts(transaction, key, at_most_bytes)

        return await self._database.read(select)

    async def probe(self) -> None:
        """Test reading and writing without changing anything. Raises StoreError.

        The write does not wait for a lock.
        """

        def rewrite(transaction: Transaction) -> None:
            # The unchanged value is still written to the log, so this fails if the disk is full.
            version = transaction.number("PRAGMA user_version")
            transaction.change(f"PRAGMA user_version = {version}")

        await self._database.read(lambda transaction: transaction.number("SELECT 1"))
        await self._write(rewrite, patient=False)

    def hurry(self, seconds: float) -> None:
        """Stop waiting for other processes' write locks `seconds` from now."""
        self._database.hurry(seconds)

    async def close(self, *, untouched: bool = False) -> None:
        """Finish running calls as far as time allows, then close the file. May be called again.

        Takes at most two seconds. untouched: leave a damaged file and its log as they are.
        """
        await self._database.close(untouched=untouched)
