"""Issues the run number of each opening of the database, and checks it at each write.

Only the newest opening may write. The number is also the upper part of the positions in a
conversation, so it must never be issued twice, not even after a loss of power (ADR 0052).
"""

from typing import Final

from callboard_service.store.database import Database
from callboard_service.store.errors import StoreFenced, StoreRefused, UnknownConversation
from callboard_service.store.transaction import Transaction

LARGEST_RUN: Final = 2**24 - 1


async def issue_run(database: Database, above: int = 0) -> int:
    """Return a new run number, larger than `above`, after syncing it to the disk.

    Raises StoreRefused if there is none left, and StoreError.
    """

    def issue(transaction: Transaction) -> int:
        run = max(transaction.number("SELECT number FROM run"), above) + 1
        if run > LARGEST_RUN:
            raise StoreRefused("the database was opened too often: no run number is left")
        transaction.change("UPDATE run SET number = ?", run)
        return run

    # Other commits are not synced one by one; see `opening`. On macOS, a sync reaches the disk
    # itself only with `fullfsync`.
    await database.pragma("fullfsync = ON")
    await database.pragma("synchronous = FULL")
    run = await database.write(issue)
    await database.pragma("synchronous = NORMAL")
    await database.pragma("fullfsync = OFF")
    return run


def check_run(transaction: Transaction, run: int) -> None:
    """Raise StoreFenced unless `run` is the run number issued last."""
    _compare(run, transaction.number("SELECT number FROM run"))


def key_for_writing(transaction: Transaction, run: int, conversation_id: str) -> int:
    """Return the key of a conversation; `check_run` and `conversation_key` in one statement.

    Raises StoreFenced, and UnknownConversation.
    """
    sql = "SELECT number, (SELECT key FROM conversations WHERE id = ?) FROM run"
    newest, key = transaction.row(sql, conversation_id) or (0, None)
    _compare(run, newest)
    if key is None:
        raise UnknownConversation(conversation_id)
    return int(key)


def _compare(run: int, newest: int) -> None:
    if newest != run:
        raise StoreFenced(
            f"another service has taken over the conversations (run {newest}; this is run {run})"
        )
