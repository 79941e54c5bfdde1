"""What the conversation database holds, and how an older one becomes the newest.

The version of a database (`PRAGMA user_version`) is the number of migrations that made it. A
released migration never changes; what is new is a further one at the end. Each runs in one
transaction with the version that it makes, so a database is always at one version or the next,
never between.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

Migration: TypeAlias = tuple[str, ...]

# "CBoa", in the database's header (`PRAGMA application_id`): tells our file from another
# application's.
APPLICATION_ID: Final = 0x43426F61

_FIRST: Final[Migration] = (
    f"PRAGMA application_id = {APPLICATION_ID}",
    # AUTOINCREMENT: the key of a deleted row is never given again, so that a client's stale entry
    # id finds nothing rather than something else.
    """
    CREATE TABLE conversations (
        key         INTEGER PRIMARY KEY AUTOINCREMENT,
        id          TEXT NOT NULL UNIQUE,
        title       TEXT NOT NULL,
        created_at  INTEGER NOT NULL,  -- microseconds since 1970, UTC
        updated_at  INTEGER NOT NULL   -- likewise
    )
    """,
    # The list: newest first.
    "CREATE INDEX conversations_by_update ON conversations (updated_at, key)",
    # `kind` is the name of the arm of HistoryEntry.entry; the columns after it are that arm's
    # fields.
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
    # A page of a history costs the same however long the history is.
    "CREATE INDEX entries_by_conversation ON entries (conversation, id)",
)

MIGRATIONS: Final[Sequence[Migration]] = (_FIRST,)
