"""The statements on the table `entries`, and on the conversations that they belong to."""

import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from sqlite3 import Row
from typing import Final, Literal, TypeAlias

from callboard.v1.chat_pb2 import (
    Attachment,
    ConversationState,
    History,
    HistoryEntry,
    UsageEvent,
)
from callboard_service.pages import PageBudget
from callboard_service.store.entries import COLUMNS, entry_of_row, row_of_entry, timestamp
from callboard_service.store.errors import UnknownConversation, UnknownEntry
from callboard_service.store.transaction import SqlValue, Transaction

Turn: TypeAlias = tuple[Literal["user", "assistant"], str]

LONGEST_TITLE: Final = 60

NO_LIMIT: Final = 2**63 - 1

OPEN: Final = "state IN (1, 2, 3, 8)"
"""Selects turns that have not ended. SQLite uses the index `turns_open` for exactly this text."""

_NAMES: Final = ", ".join(COLUMNS)
_INSERT: Final = f"""
    INSERT INTO entries (conversation, at, {_NAMES})
    VALUES (?, ?, {", ".join("?" * len(COLUMNS))})
"""  # noqa: S608  # column names only, no values
_TOUCH: Final = """
    UPDATE conversations SET
        updated_at = max(updated_at, ?),
        title = CASE WHEN title = '' THEN ? ELSE title END,
        usage = coalesce(?, usage)
    WHERE key = ? RETURNING options
"""
_PAGE: Final = f"""
    SELECT id, at, {_NAMES} FROM entries
    WHERE conversation = ? AND id < ? ORDER BY id DESC LIMIT ?
"""  # noqa: S608  # likewise
_OF_TURN: Final = f"""
    SELECT id, at, {_NAMES} FROM entries WHERE conversation = ? AND turn = ? ORDER BY id
"""  # noqa: S608  # likewise
_TEXTS: Final = """
    SELECT id, kind, text, CASE kind WHEN 'user_text' THEN data END FROM entries
    WHERE conversation = ? AND (
        kind IN ('user_text', 'assistant_text') OR (kind = 'error' AND code = 'INVALID_ARGUMENT')
    ) ORDER BY id DESC
"""
_OLDER_TEXTS: Final = """
    SELECT count(*) FROM entries
    WHERE conversation = ? AND id <= ? AND kind IN ('user_text', 'assistant_text')
"""
_UNANSWERED: Final = """
    SELECT id, turn FROM (
        SELECT id, kind, text, turn, data FROM entries
        WHERE conversation = ? AND kind != 'error' ORDER BY id DESC LIMIT 1
    ) WHERE kind = 'user_text' AND text = ? AND data IS NULL
"""
"""Finds the newest entry other than an error, if it is a user text equal to the given one.

One with attachments, which are in `data`, is not found."""
_NEWEST: Final = f"""
    SELECT id FROM entries WHERE conversation = ? AND (
        turn IS NULL OR turn NOT IN (SELECT id FROM turns WHERE conversation = ? AND {OPEN})
    ) ORDER BY id DESC LIMIT 1
"""  # noqa: S608  # a constant


class RecentTurns(list[Turn]):
    """The newest turns of a conversation, oldest first.

    left_out: how many older turns did not fit, counting refused messages too. attached: for each
    turn, its attachments; None: none has any.
    """

    def __init__(
        self,
        turns: list[Turn],
        left_out: int,
        attached: Sequence[Sequence[Attachment]] | None = None,
    ) -> None:
        super().__init__(turns)
        self.left_out = left_out
        self.attached: Sequence[Sequence[Attachment]] = attached or [()] * len(turns)

    def since(self, start: int) -> "RecentTurns":
        """Return the turns from the index `start` on; those before are left out."""
        return RecentTurns(self[start:], self.left_out + start, self.attached[start:])

    def joined(self) -> "RecentTurns":
        """Return them with consecutive turns of one role joined by an empty line."""
        turns: list[Turn] = []
        attached: list[Sequence[Attachment]] = []
        pairs = zip(self, self.attached, strict=True)
        for role, group in groupby(pairs, key=lambda pair: pair[0][0]):
            members = list(group)
            texts = [text for (_, text), has in members if text or not has]
            turns.append((role, "\n\n".join(texts)))
            attached.append([each for _, has in members for each in has])
        return RecentTurns(turns, self.left_out, attached)

    def for_model(self) -> "RecentTurns":
        """Return them as a model takes them: `joined`, and beginning with the user."""
        start = 0
        while self.left_out and start < len(self) - 1 and self[start][0] != "user":
            start += 1
        return self.since(start).joined()

    def sizes(self) -> list[int]:
        """Return the bytes of each turn: those of its text in UTF-8 and of its attachments."""
        return [
            len(text.encode()) + sum(each.size for each in has)
            for (_, text), has in zip(self, self.attached, strict=True)
        ]


def conversation_key(transaction: Transaction, conversation_id: str) -> int:
    """Return the key of a conversation. Raises UnknownConversation."""
    # Keys begin at 1.
    sql = "SELECT key FROM conversations WHERE id = ?"
    if key := transaction.number(sql, conversation_id):
        return key
    raise UnknownConversation(conversation_id)


def state_of(waits: int | None) -> ConversationState.ValueType:
    """Return a conversation's state.

    waits: whether one of its open turns waits for an answer to an ask; None if no turn is open.
    """
    if waits is None:
        return ConversationState.CONVERSATION_STATE_IDLE
    if waits:
        return ConversationState.CONVERSATION_STATE_WAITING
    return ConversationState.CONVERSATION_STATE_RUNNING


def touch(
    transaction: Transaction,
    conversation: int,
    now: int,
    heading: str = "",
    usage: UsageEvent | None = None,
) -> dict[str, str]:
    """Set `updated_at`, which never decreases, and the title if there is none yet.

    usage: the latest; None: as before. Returns what was chosen in the conversation: values by
    option.
    """
    latest = None if usage is None else usage.SerializeToString()
    return chosen(transaction.row(_TOUCH, now, heading, latest, conversation))


def chosen(row: Row | None) -> dict[str, str]:
    """Return what was chosen in a conversation, from a row of its column `options`."""
    return {} if row is None or row[0] is None else json.loads(row[0])


def dated(entry: HistoryEntry, now: int, turn_id: str = "") -> HistoryEntry:
    """Return a copy with a time: its own to the microsecond, or `now`. turn_id: empty: its own.

    Raises ValueError for a time outside the years 1 to 9999.
    """
    copy = HistoryEntry()
    copy.CopyFrom(entry)
    copy.at.CopyFrom(timestamp(entry.at.ToMicroseconds() if entry.HasField("at") else now))
    copy.turn_id = turn_id or copy.turn_id
    return copy


def insert_entries(
    transaction: Transaction, conversation: int, entries: Sequence[HistoryEntry]
) -> None:
    """Append entries that have a time, and set their ids. Raises ValueError for an empty one."""
    rows = [(entry.at.ToMicroseconds(), *row_of_entry(entry)) for entry in entries]
    insert_rows(transaction, conversation, rows)
    # They are consecutive: this transaction is the only writer.
    last = transaction.number("SELECT seq FROM sqlite_sequence WHERE name = 'entries'")
    for number, entry in enumerate(entries, start=last - len(entries) + 1):
        entry.id = str(number)


def row_at(entry: HistoryEntry, now: int, turn_id: str) -> tuple[SqlValue, ...]:
    """Return the row for an entry of a turn, at its own time or `now`; see `insert_rows`.

    Raises ValueError for an empty entry, or for a time outside the years 1 to 9999.
    """
    at = timestamp(entry.at.ToMicroseconds()).ToMicroseconds() if entry.HasField("at") else now
    return (at, *row_of_entry(entry, turn_id))


def insert_rows(
    transaction: Transaction, conversation: int, rows: Iterable[Sequence[SqlValue]]
) -> None:
    """Append entries to the history: for each its time and the values of `row_of_entry`."""
    transaction.change_many(_INSERT, [(conversation, *row) for row in rows])


def remove_unanswered(transaction: Transaction, conversation: int, text: str) -> None:
    """Remove the newest entry and its turn, if `text` repeats it and it has no reply.

    Errors do not count as a reply, and those after the entry are removed with it. The message of a
    turn that has not ended, or that has a message id, stays: such a turn has other rules.
    """
    found = transaction.row(_UNANSWERED, conversation, text)
    if found is None:
        return
    turn = found["turn"]
    sql = f"""
        SELECT count(*) FROM turns
        WHERE conversation = ? AND id = ? AND (message_id IS NOT NULL OR {OPEN})
    """  # noqa: S608  # a constant
    if turn is not None and transaction.number(sql, conversation, turn):
        return
    delete = "DELETE FROM entries WHERE conversation = ? AND id >= ?"
    transaction.change(delete, conversation, found["id"])
    if turn is not None:
        sql = "DELETE FROM turns WHERE conversation = ? AND id = ?"
        transaction.change(sql, conversation, turn)


def page_of_history(
    transaction: Transaction, conversation: int, size: int, before: str, at_most_bytes: int
) -> History:
    """Return the newest `size` entries before the entry `before`, oldest first.

    before: empty: the newest of all. Raises UnknownEntry.
    """
    end = entry_key(transaction, conversation, before) if before else NO_LIMIT
    budget, entries, more = PageBudget(at_most_bytes), list[HistoryEntry](), False
    for row in transaction.each(_PAGE, conversation, end, size + 1):
        entry = entry_of_row(row)
        more = len(entries) == size or not budget.admits(entry)
        if more:
            break
        entries.append(entry)
    entries.reverse()
    return History(entries=entries, more=more)


def entries_of_turn(
    transaction: Transaction, conversation: int, turn_id: str
) -> list[HistoryEntry]:
    """Return the entries of a turn that are in the history, oldest first."""
    return [entry_of_row(row) for row in transaction.each(_OF_TURN, conversation, turn_id)]


def newest_ended(transaction: Transaction, conversation: int) -> str:
    """Return the id of the newest entry that is not of an open turn; empty if there is none."""
    return str(transaction.number(_NEWEST, conversation, conversation) or "")


def recent_texts(transaction: Transaction, conversation: int, at_most_bytes: int) -> RecentTurns:
    """Return the newest texts of users and assistants; see `ConversationStore.turns`."""
    turns: list[Turn] = []
    attached: list[Sequence[Attachment]] = []
    left, left_out, refused = at_most_bytes, 0, False
    for number, kind, text, data in transaction.each(_TEXTS, conversation):
        if kind == "error" or (refused and kind == "user_text"):
            refused = kind == "error"
            continue
        refused = False
        if kind == "assistant_text" and not text:  # a reply without text
            continue
        attachments = [] if data is None else HistoryEntry.FromString(data).attachments
        left -= len(text.encode()) + sum(attachment.size for attachment in attachments)
        if turns and left < 0:
            left_out = transaction.number(_OLDER_TEXTS, conversation, number)
            break
        turns.append(("user" if kind == "user_text" else "assistant", text))
        attached.append(attachments)
    turns.reverse()
    attached.reverse()
    return RecentTurns(turns, left_out, attached)


def title_of(text: str) -> str:
    """Return the first non-blank line, with whitespace collapsed, in at most 60 characters."""
    line = next((" ".join(line.split()) for line in text.splitlines() if line.strip()), "")
    if len(line) > LONGEST_TITLE:
        return line[: LONGEST_TITLE - 1].rstrip() + "…"
    return line


def entry_key(transaction: Transaction, conversation: int, entry_id: str) -> int:
    """Return the key of an entry of the conversation. Raises UnknownEntry."""
    # Compared as text too: "007" is not entry 7, and an id that is not a number matches nothing.
    sql = (
        "SELECT id FROM entries"
        " WHERE id = CAST(? AS INTEGER) AND CAST(id AS TEXT) = ? AND conversation = ?"
    )
    if key := transaction.number(sql, entry_id, entry_id, conversation):
        return key
    raise UnknownEntry(entry_id)
