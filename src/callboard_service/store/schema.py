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

MIGRATIONS: Final[Sequence[Migration]] = (_FIRST,)
