"""Stores the conversations of the chat backends `local`, `openai` and `echo` in SQLite.

The store takes and returns the contract's messages. Its errors are listed in
`callboard_service.store.errors`.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from sqlite3 import Row
from typing import Final, Literal, Self, TypeAlias
from uuid import uuid4

from callboard.v1.chat_pb2 import History, HistoryEntry, SessionInfo, SessionList
from callboard_service.pages import (
    DEFAULT_PAGE,
    LARGEST_PAGE,
    PAGE_BYTES,
    TURNS_BYTES,
    PageBudget,
    bad_page,
    decode_position,
    encode_position,
    page_of,
)
from callboard_service.store.database import (
    MAX_WAITING_ENTRIES,
    Database,
    Location,
)
from callboard_service.store.entries import COLUMNS, entry_of_row, row_of_entry, timestamp
from callboard_service.store.errors import (
    StoreBroken,
    StoreBusy,
    StoreCrowded,
    StoreDamaged,
    StoreError,
    StoreFailed,
    StoreFull,
    StoreLost,
    StoreRefused,
    UnknownConversation,
    UnknownEntry,
)
from callboard_service.store.opening import open_database
from callboard_service.store.transaction import Transaction

__all__ = [
    "ConversationStore",
    "RecentTurns",
    "StoreBroken",
    "StoreBusy",
    "StoreCrowded",
    "StoreDamaged",
    "StoreError",
    "StoreFailed",
    "StoreFull",
    "StoreLost",
    "StoreRefused",
    "UnknownConversation",
    "UnknownEntry",
]

Turn: TypeAlias = tuple[Literal["user", "assistant"], str]

LONGEST_TITLE: Final = 60

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_INSERT: Final = f"""
    INSERT INTO entries (id, conversation, at, {", ".join(COLUMNS)})
    VALUES (?, ?, ?, {", ".join("?" * len(COLUMNS))})
"""  # noqa: S608  # column names only, no values
_PAGE: Final = f"""
    SELECT id, at, {", ".join(COLUMNS)} FROM entries
    WHERE conversation = ? AND id < ? ORDER BY id DESC LIMIT ?
"""  # noqa: S608  # likewise
_LIST: Final = """
    SELECT id, title, created_at, updated_at, key FROM conversations
    WHERE (updated_at, key) < (?, ?) ORDER BY updated_at DESC, key DESC
"""
_TURNS: Final = """
    SELECT id, kind, text FROM entries
    WHERE conversation = ? AND (
        kind IN ('user_text', 'assistant_text') OR (kind = 'error' AND code = 'INVALID_ARGUMENT')
    ) ORDER BY id DESC
"""
_UNANSWERED: Final = """
    SELECT id FROM (
        SELECT id, kind, text FROM entries
        WHERE conversation = ? AND kind != 'error' ORDER BY id DESC LIMIT 1
    ) WHERE kind = 'user_text' AND text = ?
"""
"""Finds the newest entry other than an error, if it is a user text equal to the given one."""
_OLDER_TURNS: Final = """
    SELECT count(*) FROM entries
    WHERE conversation = ? AND id <= ? AND kind IN ('user_text', 'assistant_text')
"""
_NO_LIMIT: Final = 2**63 - 1


class RecentTurns(list[Turn]):
    """The newest turns of a conversation, oldest first.

    left_out: how many older turns did not fit, counting refused messages too.
    """

    def __init__(self, turns: list[Turn], left_out: int) -> None:
        super().__init__(turns)
        self.left_out = left_out


class ConversationStore:
    """The conversations of one database file. Create with `open`.

    Changes survive the death of the process once the awaited call has returned. A call that fails,
    or whose caller is cancelled, takes effect entirely or not at all. Several processes may have
    the same file open. Besides the errors named in its docstring, each call raises StoreBusy,
    StoreCrowded, StoreFull or StoreFailed.
    """

    def __init__(
        self, database: Database, clock: Callable[[], datetime], new_id: Callable[[], str]
    ) -> None:
        self._database = database
        self._clock = clock
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
    ) -> Self:
        """Open the database at `path`, creating the file (0600) and its folder (0700) if missing.

        busy_timeout: seconds that a call waits for another process's lock, including its wait for
        earlier calls. A damaged file is renamed in its folder and a new one is created; other
        users' permissions on the file are removed. Each is reported in one line to `report`.
        thorough: check more closely for damage.

        Raises StoreRefused if the file is locked, belongs to a newer version or to another
        application, or cannot be created or written.
        """
        database = await open_database(
            path, busy_timeout=busy_timeout, clock=clock, report=report, thorough=thorough
        )
        return cls(database, clock, new_id)

    async def create(self, title: str) -> SessionInfo:
        """Create a conversation. If `title` is blank, the first user text will set it."""
        now = _microseconds(self._clock())
        info = _info(self._new_id(), title if title.strip() else "", now, now)

        def insert(transaction: Transaction) -> None:
            transaction.change(
                "INSERT INTO conversations (id, title, created_at, updated_at) VALUES (?, ?, ?, ?)",
                *(info.id, info.title, now, now),
            )

        await self._database.write(insert)
        return info

    async def conversations(
        self, limit: int = 0, page: str = "", at_most_bytes: int = PAGE_BYTES
    ) -> SessionList:
        """Return a page of conversations, the most recently changed first.

        limit: the most conversations to return; 0: no limit but `at_most_bytes`, the encoded size
        of the page. page: `next_page` of the previous page. The result is shared: do not modify it.
        Raises Failure: INVALID_ARGUMENT for a malformed `page`.
        """
        updated_at, key = decode_position(page) if page else (_NO_LIMIT, "0")
        if not key.isdecimal() or int(key) > _NO_LIMIT:
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

        def select(transaction: Transaction) -> SessionInfo:
            row = transaction.row(
                "SELECT id, title, created_at, updated_at FROM conversations WHERE id = ?",
                conversation_id,
            )
            if row is None:
                raise UnknownConversation(conversation_id)
            return _info(*row)

        return await self._database.read(select)

    async def delete(self, conversation_id: str) -> None:
        """Delete a conversation and its entries. Raises UnknownConversation."""

        def delete(transaction: Transaction) -> None:
            sql = "DELETE FROM conversations WHERE id = ?"
            if not transaction.change(sql, conversation_id):
                raise UnknownConversation(conversation_id)

        await self._database.write(delete)

    async def append(self, conversation_id: str, *entries: HistoryEntry) -> list[HistoryEntry]:
        """Append entries, all or none, and return copies with their ids and times.

        Ids are new. A time that is set is kept to the microsecond; a missing one becomes now. The
        conversation's `updated_at` becomes now, but never decreases. If the conversation has no
        title, the first line of the first user text, shortened to 60 characters, becomes it. If
        the first entry is a user text equal to the newest stored entry (errors aside), it replaces
        that entry and the errors after it.

        Raises UnknownConversation, and ValueError for an entry that is empty, of a kind that is not
        stored, or dated outside the years 1 to 9999.
        """
        now = _microseconds(self._clock())
        kept = [_copy(entry, now) for entry in entries]
        rows = [(entry.at.ToMicroseconds(), *row_of_entry(entry)) for entry in kept]
        repeated = entries[0].user_text if entries else ""
        heading = next((title for e in entries if (title := title_of(e.user_text))), "")

        def insert(transaction: Transaction) -> int:
            key = _key(transaction, conversation_id)
            if repeated and (before := transaction.row(_UNANSWERED, key, repeated)) is not None:
                delete = "DELETE FROM entries WHERE conversation = ? AND id >= ?"
                transaction.change(delete, key, before["id"])
            # Ids are assigned here, so that one statement inserts all entries. That is safe: this
            # transaction is the only writer.
            last = transaction.number("SELECT seq FROM sqlite_sequence WHERE name = 'entries'")
            values = [(number, key, *row) for number, row in enumerate(rows, start=last + 1)]
            transaction.change_many(_INSERT, values)
            transaction.change(
                "UPDATE conversations SET updated_at = max(updated_at, ?),"
                " title = CASE WHEN title = '' THEN ? ELSE title END WHERE key = ?",
                *(now, heading, key),
            )
            return last

        last = await self._database.write(insert, at_most=MAX_WAITING_ENTRIES)
        for number, entry in enumerate(kept, start=last + 1):
            entry.id = str(number)
        return kept

    async def history(
        self,
        conversation_id: str,
        *,
        limit: int = 0,
        before: str = "",
        at_most_bytes: int = PAGE_BYTES,
    ) -> History:
        """Return a page of entries, oldest first.

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
            key = _key(transaction, conversation_id)
            end = _entry_key(transaction, key, before) if before else _NO_LIMIT
            budget, entries, more = PageBudget(at_most_bytes), list[HistoryEntry](), False
            for row in transaction.each(_PAGE, key, end, size + 1):
                entry = entry_of_row(row)
                more = len(entries) == size or not budget.admits(entry)
                if more:
                    break
                entries.append(entry)
            entries.reverse()
            return History(entries=entries, more=more)

        return await self._database.read(select)

    async def turns(self, conversation_id: str, at_most_bytes: int = TURNS_BYTES) -> RecentTurns:
        """Return the user's and the assistant's texts to give to a model, oldest first.

        The newest turns are returned whose texts together have at most `at_most_bytes` of UTF-8,
        and always the newest one. A refused message (followed by INVALID_ARGUMENT and no reply) is
        left out: it would be refused again, and so would every message after it. Raises
        UnknownConversation.
        """

        def select(transaction: Transaction) -> RecentTurns:
            key = _key(transaction, conversation_id)
            turns: list[Turn] = []
            left, left_out, refused = at_most_bytes, 0, False
            for number, kind, text in transaction.each(_TURNS, key):
                if kind == "error" or (refused and kind == "user_text"):
                    refused = kind == "error"
                    continue
                refused = False
                left -= len(text.encode())
                if turns and left < 0:
                    left_out = transaction.number(_OLDER_TURNS, key, number)
                    break
                turns.append(("user" if kind == "user_text" else "assistant", text))
            turns.reverse()
            return RecentTurns(turns, left_out)

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
        await self._database.write(rewrite, patient=False)

    def hurry(self, seconds: float) -> None:
        """Stop waiting for other processes' write locks `seconds` from now."""
        self._database.hurry(seconds)

    async def close(self, *, untouched: bool = False) -> None:
        """Finish running calls as far as time allows, then close the file. May be called again.

        Takes at most two seconds. untouched: leave a damaged file and its log as they are.
        """
        await self._database.close(untouched=untouched)


def title_of(text: str) -> str:
    """Return the first non-blank line, with whitespace collapsed, in at most 60 characters."""
    line = next((" ".join(line.split()) for line in text.splitlines() if line.strip()), "")
    if len(line) > LONGEST_TITLE:
        return line[: LONGEST_TITLE - 1].rstrip() + "…"
    return line


def _tokens(rows: Iterator[Row]) -> Iterator[tuple[SessionInfo, str]]:
    for conversation_id, title, created_at, updated_at, key in rows:
        info = _info(conversation_id, title, created_at, updated_at)
        yield info, encode_position(updated_at, str(key))


def _key(transaction: Transaction, conversation_id: str) -> int:
    # Keys begin at 1.
    sql = "SELECT key FROM conversations WHERE id = ?"
    if key := transaction.number(sql, conversation_id):
        return key
    raise UnknownConversation(conversation_id)


def _entry_key(transaction: Transaction, conversation: int, entry_id: str) -> int:
    # Compared as text too: "007" is not entry 7, and an id that is not a number matches nothing.
    sql = (
        "SELECT id FROM entries"
        " WHERE id = CAST(? AS INTEGER) AND CAST(id AS TEXT) = ? AND conversation = ?"
    )
    if key := transaction.number(sql, entry_id, entry_id, conversation):
        return key
    raise UnknownEntry(entry_id)


def _info(conversation_id: str, title: str, created_at: int, updated_at: int) -> SessionInfo:
    return SessionInfo(
        id=conversation_id,
        title=title,
        created_at=timestamp(created_at),
        updated_at=timestamp(updated_at),
    )


def _copy(entry: HistoryEntry, now: int) -> HistoryEntry:
    copy = HistoryEntry()
    copy.CopyFrom(entry)
    copy.at.CopyFrom(timestamp(entry.at.ToMicroseconds() if entry.HasField("at") else now))
    return copy


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
