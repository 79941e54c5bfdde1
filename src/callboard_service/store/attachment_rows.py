"""The statements on the tables of attachments: uploads, their use by messages, and their end."""

from collections.abc import Iterable, Sequence
from typing import Final

from callboard.v1.chat_pb2 import Attachment, HistoryEntry
from callboard_service.store.errors import UnknownUpload
from callboard_service.store.transaction import Transaction

_INSERT: Final = """
    INSERT INTO attachments (id, name, media_type, size, made_at, uploaded, unused)
    VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_USE: Final = """
    INSERT OR IGNORE INTO attachment_uses (conversation, attachment)
    SELECT ?, key FROM attachments WHERE id = ?
"""
_END_USE: Final = """
    DELETE FROM attachment_uses
    WHERE conversation = ? AND attachment = (SELECT key FROM attachments WHERE id = ?)
"""
_COLUMNS: Final = "attachments.id, attachments.name, attachments.media_type, attachments.size"
_USED: Final = f"""
    SELECT {_COLUMNS} FROM attachments
    JOIN attachment_uses ON attachment_uses.attachment = attachments.key
    WHERE attachment_uses.conversation = ? AND attachments.id = ?
"""  # noqa: S608  # a constant
_UPLOAD: Final = f"""
    SELECT {_COLUMNS} FROM attachments WHERE id = ? AND unused AND made_at >= ?
"""  # noqa: S608  # a constant
_EXPIRED: Final = """
    FROM attachments WHERE made_at < ? AND NOT EXISTS (
        SELECT 1 FROM attachment_uses WHERE attachment = attachments.key
    )
"""
_WITH_ATTACHMENTS: Final = """
    SELECT data FROM entries
    WHERE conversation = ? AND kind = 'user_text' AND data IS NOT NULL
"""


def description(attachment: Attachment) -> Attachment:
    """Return what is kept of an attachment, and shown: all but its content."""
    return Attachment(
        id=attachment.id,
        name=attachment.name,
        media_type=attachment.media_type,
        size=attachment.size,
    )


def insert(transaction: Transaction, attachment: Attachment, now: int, *, uploaded: bool) -> None:
    """Add an attachment. uploaded: by itself; no message has used it yet."""
    made = (attachment.id, attachment.name, attachment.media_type, attachment.size, now)
    transaction.change(_INSERT, *made, int(uploaded), int(uploaded))


def use(
    transaction: Transaction,
    conversation: int,
    attachments: Iterable[Attachment],
    now: int,
    since: int,
) -> None:
    """Have a conversation use the attachments of a message.

    One with an `upload_id` must be an upload since then that no message has used, else
    UnknownUpload is raised. Any other is new.
    """
    for attachment in attachments:
        if attachment.upload_id:
            sql = "UPDATE attachments SET unused = 0 WHERE id = ? AND unused AND made_at >= ?"
            if not transaction.change(sql, attachment.id, since):
                raise UnknownUpload(attachment.upload_id)
        else:
            insert(transaction, attachment, now, uploaded=False)
        transaction.change(_USE, conversation, attachment.id)


def end_use(transaction: Transaction, conversation: int, attachments: Iterable[Attachment]) -> None:
    """Have a conversation use these no longer; those that nobody else uses end."""
    for attachment in attachments:
        transaction.change(_END_USE, conversation, attachment.id)


def give_back(
    transaction: Transaction, conversation: int, attachments: Sequence[Attachment]
) -> None:
    """Undo `use`: uploads can be used again, and the others end."""
    for attachment in attachments:
        sql = "UPDATE attachments SET unused = uploaded WHERE id = ?"
        transaction.change(sql, attachment.id)
    end_use(transaction, conversation, attachments)


def use_entries(transaction: Transaction, conversation: int) -> None:
    """Have a copied conversation use the attachments of its entries."""
    for row in transaction.rows(_WITH_ATTACHMENTS, conversation):
        for attachment in HistoryEntry.FromString(row["data"]).attachments:
            transaction.change(_USE, conversation, attachment.id)


def attachments_of(transaction: Transaction, conversation: int, turn_id: str) -> list[Attachment]:
    """Return the attachments of a turn's message and of those that were handed to the turn."""
    sql = """
        SELECT attachments FROM turns
        WHERE conversation = ? AND (id = ? OR part_of = ?) AND attachments IS NOT NULL
    """
    rows = transaction.rows(sql, conversation, turn_id, turn_id)
    return [found for row in rows for found in HistoryEntry.FromString(row[0]).attachments]


def used(transaction: Transaction, conversation: int, attachment_id: str) -> Attachment | None:
    """Return an attachment that the conversation uses; None if it uses no such one."""
    row = transaction.row(_USED, conversation, attachment_id)
    return None if row is None else Attachment(**dict(row))


def upload(transaction: Transaction, upload_id: str, since: int) -> Attachment | None:
    """Return an upload that no message has used, made since then; None if there is none."""
    row = transaction.row(_UPLOAD, upload_id, since)
    return None if row is None else Attachment(**dict(row))


def has_ended(transaction: Transaction, before: int) -> bool:
    """Return whether there is anything to expire, or any file to remove of what has ended."""
    sql = f"SELECT EXISTS (SELECT 1 {_EXPIRED}) OR EXISTS (SELECT 1 FROM attachments_ended)"  # noqa: S608
    return bool(transaction.number(sql, before))


def expire(transaction: Transaction, before: int) -> None:
    """End the attachments that were made before then and that no conversation uses."""
    transaction.change(f"DELETE {_EXPIRED}", before)


def end_lost(transaction: Transaction, names: Iterable[str], before: int) -> None:
    """End the attachments with these ids, whose files are lost, if they were made before then."""
    for name in names:
        sql = "DELETE FROM attachments WHERE id = ? AND made_at < ?"
        transaction.change(sql, name, before)
