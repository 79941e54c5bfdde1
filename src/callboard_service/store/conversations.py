"""The statements on the table `conversations`: one of them, lists of them, searches and forks."""

import json
from collections.abc import Iterator, Mapping
from sqlite3 import Row
from typing import Final

from callboard.v1.chat_pb2 import SessionInfo, UsageEvent
from callboard_service.pages import encode_position
from callboard_service.store import attachment_rows, histories
from callboard_service.store.entries import COLUMNS, timestamp
from callboard_service.store.errors import UnknownConversation, UnknownEntry
from callboard_service.store.histories import OPEN, conversation_key
from callboard_service.store.transaction import Transaction

INDEXED_AT_ONCE: Final = 500
"""Entries that one transaction adds to the search index: some 50 ms of work."""

SHORTEST_INDEXED: Final = 3
"""Characters from which on a search finds texts; shorter ones find titles only."""

# `waits` is NULL if no turn is open, 1 if one waits for an answer to an ask, else 0.
_INFO: Final = f"""
    SELECT id, title, created_at, updated_at, parent_id, archived, (
        SELECT max(state = 3) FROM turns WHERE conversation = conversations.key AND {OPEN}
    ) AS waits, key FROM conversations
"""  # noqa: S608  # a constant
_NEWEST_FIRST: Final = "ORDER BY updated_at DESC, key DESC"
_IN_TITLE: Final = "instr(casefold(title), casefold(:search)) > 0"
_IN_TEXT: Final = """
    key IN (SELECT conversation FROM texts JOIN entries ON entries.id = texts.rowid
        WHERE texts MATCH :phrase)
"""
_INSERT: Final = """
    INSERT INTO conversations (id, title, created_at, updated_at, create_id, parent_id, options)
    VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_COPY_ENTRIES: Final = f"""
    INSERT INTO entries (conversation, at, {", ".join(COLUMNS)})
    SELECT ?, at, {", ".join(COLUMNS)} FROM entries
    WHERE conversation = ? AND id < ? AND (
        turn IS NULL OR turn NOT IN (SELECT id FROM turns WHERE conversation = ? AND {OPEN})
    ) ORDER BY id
"""  # noqa: S608  # constants
_COPY_TURNS: Final = """
    INSERT INTO turns (
        conversation, id, state, place, model, detached, completed, error, attachments
    )
    SELECT ?, id, state, 0, model, detached, completed, error, attachments FROM turns
    WHERE conversation = ? AND part_of IS NULL AND id IN (
        SELECT turn FROM entries WHERE conversation = ? AND turn IS NOT NULL
    ) ORDER BY key
"""


def insert(
    transaction: Transaction,
    conversation_id: str,
    title: str,
    now: int,
    create_id: str,
    chosen: Mapping[str, str] | None,
) -> SessionInfo:
    """Create a conversation and return it; the one that was created with this id, if any.

    chosen: values by option.
    """
    known = created_by(transaction, create_id)
    if known is not None:
        return known
    title = title if title.strip() else ""
    options = json.dumps(dict(chosen)) if chosen else None
    transaction.change(_INSERT, conversation_id, title, now, now, create_id or None, None, options)
    return get(transaction, conversation_id)


def created_by(transaction: Transaction, create_id: str) -> SessionInfo | None:
    """Return the conversation that was created with this id of its client; None: none was."""
    if not create_id:
        return None
    row = transaction.row(f"{_INFO} WHERE create_id = ?", create_id)
    return None if row is None else info_of(row)


def get(transaction: Transaction, conversation_id: str) -> SessionInfo:
    """Return a conversation. Raises UnknownConversation."""
    row = transaction.row(f"{_INFO} WHERE id = ?", conversation_id)
    if row is None:
        raise UnknownConversation(conversation_id)
    return info_of(row)


def update(
    transaction: Transaction, conversation_id: str, title: str | None, archived: bool | None
) -> SessionInfo:
    """Change what is not None, and return the conversation. Raises UnknownConversation.

    A blank title is set by the next user text. The conversation keeps its place in the list.
    """
    key = conversation_key(transaction, conversation_id)
    if title is not None:
        blank = "" if not title.strip() else title
        transaction.change("UPDATE conversations SET title = ? WHERE key = ?", blank, key)
    if archived is not None:
        sql = "UPDATE conversations SET archived = ? WHERE key = ?"
        transaction.change(sql, int(archived), key)
    return get(transaction, conversation_id)


def choices(transaction: Transaction, conversation: int) -> dict[str, str]:
    """Return what was chosen in a conversation: values by option."""
    sql = "SELECT options FROM conversations WHERE key = ?"
    return histories.chosen(transaction.row(sql, conversation))


def choose(transaction: Transaction, conversation_id: str, option: str, value: str) -> None:
    """Set the value of an option; an empty one removes it. Raises UnknownConversation."""
    key = conversation_key(transaction, conversation_id)
    chosen = choices(transaction, key) | {option: value}
    kept = {name: value for name, value in chosen.items() if value}
    sql = "UPDATE conversations SET options = ? WHERE key = ?"
    transaction.change(sql, json.dumps(kept) if kept else None, key)


def usage(transaction: Transaction, conversation_id: str) -> UsageEvent | None:
    """Return the latest usage of a conversation; None if none is known.

    Raises UnknownConversation.
    """
    key = conversation_key(transaction, conversation_id)
    row = transaction.row("SELECT usage FROM conversations WHERE key = ?", key)
    return None if row is None or row[0] is None else UsageEvent.FromString(row[0])


def listed(
    transaction: Transaction, after: tuple[int, int], search: str, *, archived: bool
) -> Iterator[tuple[SessionInfo, str]]:
    """Yield conversations after a time and a key, newest first, each with its page token.

    search: only those whose title or text contains it. archived: also archived ones.
    """
    conditions = ["(updated_at, key) < (:updated_at, :key)"]
    if not archived:
        conditions.append("archived = 0")
    if len(search) >= SHORTEST_INDEXED:
        conditions.append(f"({_IN_TITLE} OR {_IN_TEXT})")
    elif search:
        conditions.append(_IN_TITLE)
    phrase = '"' + search.replace('"', '""') + '"'
    rows = transaction.each_named(
        f"{_INFO} WHERE {' AND '.join(conditions)} {_NEWEST_FIRST}",
        {"updated_at": after[0], "key": after[1], "search": search, "phrase": phrase},
    )
    for row in rows:
        yield info_of(row), encode_position(row["updated_at"], str(row["key"]))


def index_texts(transaction: Transaction) -> bool:
    """Add the next entries to the search index; return whether there may be more."""
    last = transaction.number("SELECT entry FROM indexed")
    sql = "SELECT max(id), count(*) FROM (SELECT id FROM entries WHERE id > ? ORDER BY id LIMIT ?)"
    row = transaction.row(sql, last, INDEXED_AT_ONCE)
    if row is None or not row[1]:
        return False
    transaction.change(
        "INSERT INTO texts (rowid, text) SELECT id, text FROM entries"
        " WHERE id > ? AND id <= ? AND kind IN ('user_text', 'assistant_text')",
        *(last, row[0]),
    )
    transaction.change("UPDATE indexed SET entry = ?", row[0])
    return bool(row[1] == INDEXED_AT_ONCE)


def has_unindexed(transaction: Transaction) -> bool:
    """Return whether there are entries that the search index does not know."""
    sql = "SELECT count(*) FROM (SELECT 1 FROM entries, indexed WHERE id > entry LIMIT 1)"
    return transaction.number(sql) > 0


def fork(
    transaction: Transaction,
    source_id: str,
    before: str,
    conversation_id: str,
    title: str,
    now: int,
    create_id: str,
) -> SessionInfo:
    """Copy the ended turns before an entry into a new conversation, and return it.

    before: a turn's first user text; empty: all. title: blank: the source's. Turns keep their ids
    and lose those of their messages. Raises UnknownConversation, and UnknownEntry for another
    entry.
    """
    known = created_by(transaction, create_id)
    if known is not None:
        return known
    source = conversation_key(transaction, source_id)
    end = _start_of_turn(transaction, source, before) if before else histories.NO_LIMIT
    sql = "SELECT title, options FROM conversations WHERE key = ?"
    (row,) = transaction.rows(sql, source)
    title = title if title.strip() else row["title"]
    transaction.change(
        _INSERT, conversation_id, title, now, now, create_id or None, source_id, row["options"]
    )
    copy = conversation_key(transaction, conversation_id)
    transaction.change(_COPY_ENTRIES, copy, source, end, source)
    transaction.change(_COPY_TURNS, copy, source, copy)
    attachment_rows.use_entries(transaction, copy)
    return get(transaction, conversation_id)


def info_of(row: Row) -> SessionInfo:
    """Return the conversation of a row of `_INFO`."""
    return SessionInfo(
        id=row["id"],
        title=row["title"],
        created_at=timestamp(row["created_at"]),
        updated_at=timestamp(row["updated_at"]),
        state=histories.state_of(row["waits"]),
        parent_id=row["parent_id"] or "",
        archived=bool(row["archived"]),
    )


def _start_of_turn(transaction: Transaction, conversation: int, entry_id: str) -> int:
    """Return the key of an entry that begins a turn. Raises UnknownEntry for any other."""
    key = histories.entry_key(transaction, conversation, entry_id)
    sql = """
        SELECT count(*) FROM entries AS begins WHERE id = ? AND kind = 'user_text' AND NOT EXISTS (
            SELECT 1 FROM entries
            WHERE conversation = begins.conversation AND turn = begins.turn AND id < begins.id
        )
    """
    if not transaction.number(sql, key):
        raise UnknownEntry(entry_id)
    return key
