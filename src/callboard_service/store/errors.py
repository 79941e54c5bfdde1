"""The errors of the conversation store.

StoreError                  base; the text is one line for a person
├── UnknownConversation     .conversation_id
├── UnknownEntry            .entry_id
├── UnknownTurn             .turn_id
├── UnknownUpload           .upload_id
├── TurnConflict            the state of a turn does not allow the call
├── StoreBusy               another process holds the lock; the same call may succeed later
├── StoreCrowded            too many calls are waiting; the same call may succeed later
├── StoreFull               the disk is full
├── StoreFailed             any other failure to read or write, or a closed store
│   ├── StoreFenced         the database was opened again since; only the newest opening writes
│   └── StoreBroken         the open file can no longer be used; reopen it
│       ├── StoreDamaged    the file is not a database, or is corrupt
│       └── StoreLost       the file was removed or replaced
└── StoreRefused            the database cannot be opened; its conversations are unchanged
"""


class StoreError(Exception):
    """A conversation could not be read or written. The text is one line for a person."""


class UnknownConversation(StoreError, LookupError):
    """The conversation does not exist, or was deleted."""

    def __init__(self, conversation_id: str) -> None:
        super().__init__(f"there is no conversation {_quoted(conversation_id)}")
        self.conversation_id = conversation_id


class UnknownEntry(StoreError, LookupError):
    """The conversation has no such entry."""

    def __init__(self, entry_id: str) -> None:
        super().__init__(f"the conversation has no entry {_quoted(entry_id)}")
        self.entry_id = entry_id


class UnknownTurn(StoreError, LookupError):
    """The conversation has no such turn."""

    def __init__(self, turn_id: str) -> None:
        super().__init__(f"the conversation has no turn {_quoted(turn_id)}")
        self.turn_id = turn_id


class UnknownUpload(StoreError, LookupError):
    """There is no such upload, or a message has used it, or it has expired."""

    def __init__(self, upload_id: str) -> None:
        super().__init__(
            f"there is no upload {_quoted(upload_id)}, or it has expired, or a message has used it"
        )
        self.upload_id = upload_id


class TurnConflict(StoreError):
    """The state of a turn does not allow the call. Nothing was changed."""


class StoreBusy(StoreError):
    """Another process held the lock for longer than the busy timeout."""


class StoreCrowded(StoreError):
    """Too many calls are waiting for the database's thread."""


class StoreFull(StoreError):
    """The disk is full."""


class StoreFailed(StoreError):
    """Reading or writing failed for any other reason, or the store is closed."""


class StoreFenced(StoreFailed):
    """The database was opened again, by this process or another one. Nothing was written."""


class StoreBroken(StoreFailed):
    """The open file can no longer be used."""


class StoreDamaged(StoreBroken):
    """The file is not a database, or is corrupt."""


class StoreLost(StoreBroken):
    """The file was removed or replaced, or cannot be reached."""


class StoreRefused(StoreError):
    """The database cannot be opened. Its conversations are unchanged."""


def _quoted(name: str) -> str:
    return repr(name if len(name) <= 80 else name[:80] + "…")
