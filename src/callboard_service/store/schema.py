"""Defines the schema of the conversation database and the migrations to its newest version.

The version of a database (`PRAGMA user_version`) is the number of migrations applied to it. Never
change a released migration; append a new one. Each migration runs in one transaction together with
the update of the version, so a database is never between two versions.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

Migration: TypeAlias = tuple[str, ...]

# "CBoa", in the database's header (`PRAGMA application_id`): distinguishes our file from those of
# other applications.
APPLICATION_ID: Final = 0x43426F61

_FIRST: Final[Migration] = (
    f"PRAGMA application_id = {APPLICATION_ID}",
    # AUTOINCREMENT: the key of a deleted row is never reused, so a client's stale entry id matches
    # no row instead of the wrong one.
    """
    CREATE TABLE conversations (
        key         INTEGER PRIMARY KEY AUTOINCREMENT,
        id          TEXT NOT NULL UNIQUE,
        title       TEXT NOT NULL,
        created_at  INTEGER NOT NULL,  -- microseconds since 1970, UTC
        updated_at  INTEGER NOT NULL   -- likewise
    )
    """,
    # For the list of conversations, newest first.
    "CREATE INDEX conversations_by_update ON conversations (updated_at, key)",
    # `kind` is the name of the field set in the oneof HistoryEntry.entry; the columns after it
    # hold that field's values.
    """
    CREATE TABLE entries (
        id              INTEGER PRIMARY KEY AUTOINCREMENT,
        conversation    INTEGER NOT NULL REFERENCES conversations (key) ON DELETE CASCADE,
        at              INTEGER NOT NULL,  -- microseconds since 1970, UTC
        kind            TEXT NOT NULL,
        text            TEXT,              -- what was said, a tool's output, an error's message
        call_id         TEXT,              -- tool_call, tool_result
        name            TEXT,              -- tool_call
        arguments       TEXT,              -- tool_call: a JSON object; NULL where it has none
        is_error        INTEGER,           -- tool_result
        code            TEXT,              -- error
        retryable       INTEGER,           -- error
        retry_after_ms  INTEGER            -- error
    )
    """,
    # Makes the cost of reading a page independent of the length of the history.
    "CREATE INDEX entries_by_conversation ON entries (conversation, id)",
)

_TURNS: Final[Migration] = (
    # One row: the run number issued last (ADR 0052).
    "CREATE TABLE run (number INTEGER NOT NULL)",
    "INSERT INTO run (number) VALUES (0)",
    "ALTER TABLE conversations ADD COLUMN create_id TEXT",  # chosen by the client; NULL: none
    """
    CREATE UNIQUE INDEX conversations_by_create_id ON conversations (create_id)
    WHERE create_id IS NOT NULL
    """,
    "ALTER TABLE entries ADD COLUMN turn TEXT",  # id of the turn; NULL: kept before turns had ids
    # An encoded HistoryEntry with what no other column holds; NULL: nothing.
    "ALTER TABLE entries ADD COLUMN data BLOB",
    "CREATE INDEX entries_by_turn ON entries (conversation, turn) WHERE turn IS NOT NULL",
    # `state` is a TurnState. The entries of a turn refer to it by its id, not by its key, since a
    # copied conversation has the same turn ids.
    """
    CREATE TABLE turns (
        key           INTEGER PRIMARY KEY,
        conversation  INTEGER NOT NULL REFERENCES conversations (key) ON DELETE CASCADE,
        id            TEXT NOT NULL,
        message_id    TEXT,              -- NULL: none
        state         INTEGER NOT NULL,
        place         INTEGER NOT NULL,  -- in the queue, from 1; 0: not queued
        text          TEXT,              -- NULL: the turn has started, and its entries hold it
        model         TEXT NOT NULL,
        detached      INTEGER NOT NULL,
        deadline_at   INTEGER,           -- microseconds since 1970, UTC; NULL: none
        completed     BLOB,              -- how it ended: an encoded ChatCompleted
        error         BLOB               -- or an encoded ChatError
    )
    """,
    "CREATE UNIQUE INDEX turns_by_id ON turns (conversation, id)",
    """
    CREATE UNIQUE INDEX turns_by_message ON turns (conversation, message_id)
    WHERE message_id IS NOT NULL
    """,
    # The turns that have not ended: queued, running, waiting, stopping. They are few, so that the
    # state of each conversation in a list costs next to nothing.
    """
    CREATE INDEX turns_open ON turns (conversation, place, state) WHERE state IN (1, 2, 3, 8)
    """,
    # Output of running turns, in the order of its ids.
    """
    CREATE TABLE pieces (
        id            INTEGER PRIMARY KEY,
        conversation  INTEGER NOT NULL REFERENCES conversations (key) ON DELETE CASCADE,
        turn          TEXT NOT NULL,
        keep          INTEGER,           -- cuts the text so far to this many bytes of UTF-8
        data          BLOB               -- or an encoded HistoryEntry
    )
    """,
    "CREATE INDEX pieces_by_turn ON pieces (conversation, turn)",
)

_ORGANISED: Final[Migration] = (
    "ALTER TABLE conversations ADD COLUMN parent_id TEXT",  # forked from it; NULL: not a fork
    "ALTER TABLE conversations ADD COLUMN archived INTEGER NOT NULL DEFAULT 0",
    # What was chosen: a JSON object of SessionOption.id to OptionChoice.value; NULL: nothing.
    "ALTER TABLE conversations ADD COLUMN options TEXT",
    "ALTER TABLE conversations ADD COLUMN usage BLOB",  # the latest UsageEvent; NULL: none
    # For the list without archived conversations.
    "CREATE INDEX conversations_shown ON conversations (updated_at, key) WHERE archived = 0",
    # An encoded HistoryEntry with the message's attachments; NULL: none.
    "ALTER TABLE turns ADD COLUMN attachments BLOB",
    # The message was handed to this turn, which was running; NULL: it is a turn of its own.
    "ALTER TABLE turns ADD COLUMN part_of TEXT",
    # Whether the message is queued only in case that the running turn, to which it was handed, does
    # not use it.
    "ALTER TABLE turns ADD COLUMN handed INTEGER NOT NULL DEFAULT 0",
    # For searching in what users and models said. It takes no part in writing messages, which it
    # would slow down by a tenth: it follows later, as far as `indexed` says (ADR 0057).
    """
    CREATE VIRTUAL TABLE texts USING fts5(
        text, content = 'entries', content_rowid = 'id', tokenize = 'trigram'
    )
    """,
    "CREATE TABLE indexed (entry INTEGER NOT NULL)",  # one row: the last entry that `texts` knows
    "INSERT INTO indexed (entry) VALUES (0)",
    """
    CREATE TRIGGER entries_leave_texts AFTER DELETE ON entries
    WHEN old.kind IN ('user_text', 'assistant_text') AND old.id <= (SELECT entry FROM indexed)
    BEGIN
        INSERT INTO texts (texts, rowid, text) VALUES ('delete', old.id, old.text);
    END
    """,
    # Files in a folder of this database's own, by `id`; see `store/attachments.py`. The folder has
    # the name of the database and this, so that two databases never share one.
    "CREATE TABLE attachment_folder (name TEXT NOT NULL)",
    "INSERT INTO attachment_folder (name) VALUES (lower(hex(randomblob(8))))",
    """
    CREATE TABLE attachments (
        key         INTEGER PRIMARY KEY,
        id          TEXT NOT NULL UNIQUE,
        name        TEXT NOT NULL,
        media_type  TEXT NOT NULL,
        size        INTEGER NOT NULL,
        made_at     INTEGER NOT NULL,  -- microseconds since 1970, UTC
        uploaded    INTEGER NOT NULL,  -- by a request of its own, not in a message
        unused      INTEGER NOT NULL   -- no message has used the upload yet
    )
    """,
    """
    CREATE TABLE attachment_uses (
        conversation  INTEGER NOT NULL REFERENCES conversations (key) ON DELETE CASCADE,
        attachment    INTEGER NOT NULL REFERENCES attachments (key) ON DELETE CASCADE,
        PRIMARY KEY (conversation, attachment)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX attachment_uses_by_attachment ON attachment_uses (attachment)",
    # An attachment goes with its last use, and its file soon after.
    """
    CREATE TRIGGER attachments_end AFTER DELETE ON attachment_uses
    WHEN NOT EXISTS (SELECT 1 FROM attachment_uses WHERE attachment = old.attachment)
    BEGIN
        DELETE FROM attachments WHERE key = old.attachment AND NOT unused;
    END
    """,
    "CREATE TABLE attachments_ended (id TEXT NOT NULL)",  # whose files are to be removed
    """
    CREATE TRIGGER attachments_leave_files AFTER DELETE ON attachments
    BEGIN
        INSERT INTO attachments_ended (id) VALUES (old.id);
    END
    """,
)

MIGRATIONS: Final[Sequence[Migration]] = (_FIRST, _TURNS, _ORGANISED)
