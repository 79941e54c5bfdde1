"""The errors of the conversation store.

StoreError                  one line for a person each
├── UnknownConversation     .conversation_id
├── UnknownEntry            .entry_id
├── StoreBusy               another process holds the lock; the same call may succeed later
├── StoreCrowded            too many calls wait; the same call may succeed later
├── StoreFull               the disk is full
├── StoreFailed             any other fault of the file, or a closed store
│   └── StoreBroken         the open file cannot be relied on; it must be opened anew
│       ├── StoreDamaged    the file is no database, or not a whole one
│       └── StoreLost       the file was removed or replaced
└── StoreRefused            it cannot be opened; the file is as it was
"""


class StoreError(Exception):
    """A conversation could not be read or written. Its text is one line for a person."""


class UnknownConversation(StoreError, LookupError):
    """There is no such conversation, or no longer."""

    def __init__(self, conversation_id: str) -> None:
        super().__init__(f"there is no conversation {_quoted(conversation_id)}")
        self.conversation_id = conversation_id


class UnknownEntry(StoreError, LookupError):
    """The conversation has no such entry."""

    def __init__(self, entry_id: str) -> None:
        super().__init__(f"the conversation has no entry {_quoted(entry_id)}")
        self.entry_id = entry_id


class StoreBusy(StoreError):
    """Another process held the lock for longer than the busy timeout."""


class StoreCrowded(StoreError):
    """Too many calls wait for their turn."""


class StoreFull(StoreError):
    """There is no room left for what was to be written."""


class StoreFailed(StoreError):
    """Reading or writing failed for another reason, or the store is closed."""


class StoreBroken(StoreFailed):
    """The open file cannot be relied on any more."""


class StoreDamaged(StoreBroken):
    """The file is no database, or not a whole one."""


class StoreLost(StoreBroken):
    """The file was removed, or another one has its name."""


class StoreRefused(StoreError):
    """The database cannot be used. It is as it was."""


def _quoted(name: str) -> str:
    return repr(name if len(name) <= 80 else name[:80] + "…")
