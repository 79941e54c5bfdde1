"""Stores the conversations of the chat backends `local`, `openai` and `echo` in SQLite.

The store takes and returns the contract's messages. Its errors are listed in
`callboard_service.store.errors`.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from sqlite3 import Row
from typing import Final, Self
from uuid import uuid4

from callboard.v1.chat_pb2 import (
    History,
    HistoryEntry,
    SessionInfo,
    SessionList,
)
from callboard_service.pages import (
    DEFAULT_PAGE,
    LARGEST_PAGE,
    PAGE_BYTES,
    TURNS_BYTES,
    bad_page,
    decode_position,
    encode_position,
    page_of,
)
from callboard_service.store import histories
from callboard_service.store.database import MAX_WAITING_ENTRIES, Database, Location
from callboard_service.store.entries import timestamp
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
)
from callboard_service.store.histories import NO_LIMIT, OPEN, RecentTurns, conversation_key
from callboard_service.store.opening import open_database
from callboard_service.store.run import issue_run
from callboard_service.store.transaction import Transaction
from callboard_service.store.turn_store import TurnStore
from callboard_service.store.turns import Admission, KeptTurn, NewTurn

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
]

# `waits` is NULL if no turn is open, 1 if one waits for an answer to an ask, else 0.
_INFO: Final = f"""
    SELECT id, title, created_at, updated_at, (
        SELECT max(state = 3) FROM turns WHERE conversation = conversations.key AND {OPEN}
    ) AS waits, key FROM conversations
"""  # noqa: S608  # a constant
_LIST: Final = f"{_INFO} WHERE (updated_at, key) < (?, ?) ORDER BY updated_at DESC, key DESC"
_ENSURE: Final = """
    INSERT INTO conversations (id, title, created_at, updated_at, create_id)
    VALUES (?, '', ?, ?, ?)
    ON CONFLICT (id) DO NOTHING
"""


class ConversationStore(TurnStore):
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

    async def create(self, title: str, create_id: str = "") -> SessionInfo:
        """Create a conversation. If `title` is blank, the first user text will set it.

        create_id: chosen by the client; if a conversation was created with it, and not deleted
        since, that one is returned. Empty: no such protection.
        """
        now = self._now()
        values = (self._new_id(), title if title.strip() else "", now, now, create_id or None)

        def insert(transaction: Transaction) -> SessionInfo:
            if create_id:
                known = transaction.row(f"{_INFO} WHERE create_id = ?", create_id)
                if known is not None:
                    return _info_of(known)
            transaction.change(
                "INSERT INTO conversations (id, title, created_at, updated_at, create_id)"
                " VALUES (?, ?, ?, ?, ?)",
                *values,
            )
            return _info(transaction, values[0])

        return await self._write(insert)

    async def created_by(self, create_id: str) -> str:
        """Return the id of the conversation that was created with this id; empty if none was."""

        def select(transaction: Transaction) -> str:
            sql = "SELECT id FROM conversations WHERE create_id = ?"
            row = transaction.row(sql, create_id)
            return "" if row is None else str(row["id"])

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
        self, limit: int = 0, page: str = "", at_most_bytes: int = PAGE_BYTES
    ) -> SessionList:
        """Return a page of conversations, the most recently changed first.

        limit: the most conversations to return; 0: no limit but `at_most_bytes`, the encoded size
        of the page. page: `next_page` of the previous page. The result is shared: do not modify it.
        Raises Failure: INVALID_ARGUMENT for a malformed `page`.
        """
        updated_at, key = decode_position(page) if page else (NO_LIMIT, "0")
        if not key.isdecimal() or int(key) > NO_LIMIT:
            raise bad_page()

        def select(transaction: Transaction) -> SessionList:
            # Equal requests for the first page share one result until something is written.
            made_of = (transaction.state(), limit, at_most_bytes)
            if not page and self._first_page is not None and self._first_page[0] == made_of:
                return self._first_page[1]
            rows = transaction.each(_LIST, updated_at, int(key))
            found = page_of(_tokens(rows), limit, at_most_bytes)
            if not page:
                self._first_page = made_of, found
            return found

        return await self._database.read(select)

    async def get(self, conversation_id: str) -> SessionInfo:
        """Return one conversation. Raises UnknownConversation."""
        return await self._database.read(lambda transaction: _info(transaction, conversation_id))

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

        def insert(transaction: Transaction) -> None:
            key = conversation_key(transaction, conversation_id)
            if repeated:
                histories.remove_unanswered(transaction, key, repeated)
            histories.insert_entries(transaction, key, kept)
            histories.touch(transaction, key, now, heading)

        await self._write(insert, at_most=MAX_WAITING_ENTRIES)
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

        The newest texts are returned that together have at most `at_most_bytes` of UTF-8, and
        always the newest one. Reasoning and empty replies are left out. A refused message (followed
        by INVALID_ARGUMENT and no reply) is left out too: it would be refused again, and so would
        every message after it. Raises UnknownConversation.
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


def _tokens(rows: Iterator[Row]) -> Iterator[tuple[SessionInfo, str]]:
    for row in rows:
        yield _info_of(row), encode_position(row["updated_at"], str(row["key"]))


def _info(transaction: Transaction, conversation_id: str) -> SessionInfo:
    row = transaction.row(f"{_INFO} WHERE id = ?", conversation_id)
    if row is None:
        raise UnknownConversation(conversation_id)
    return _info_of(row)


def _info_of(row: Row) -> SessionInfo:
    return SessionInfo(
        id=row["id"],
        title=row["title"],
        created_at=timestamp(row["created_at"]),
        updated_at=timestamp(row["updated_at"]),
        state=histories.state_of(row["waits"]),
    )
