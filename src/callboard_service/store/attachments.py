"""The part of the conversation store that keeps what is known of attachments.

Their content is in files, of which the store knows the names only: `attachment_files`. A file is
written before its row, and removed after it, so that no row names a file that was never whole.
"""

from collections.abc import Collection

from callboard.v1.chat_pb2 import Attachment
from callboard_service.store import attachment_rows
from callboard_service.store.histories import conversation_key
from callboard_service.store.transaction import Transaction
from callboard_service.store.turn_store import UPLOAD_LIFE_MICROSECONDS, TurnStore


class AttachmentStore(TurnStore):
    """Keeps the names, types and sizes of attachments, and which conversations use them.

    Messages use attachments as they are admitted (`TurnStore.admit`); copies of a conversation
    share them. An attachment ends with the last conversation that uses it, and an upload that no
    message uses after UPLOAD_LIFE.
    """

    async def attachment_folder(self) -> str:
        """Return the part of the folder's name that distinguishes this database from others."""

        def select(transaction: Transaction) -> str:
            (row,) = transaction.rows("SELECT name FROM attachment_folder")
            return str(row[0])

        return await self._database.read(select)

    async def add_upload(self, attachment: Attachment) -> None:
        """Add an upload, whose file is whole; a message may use it within UPLOAD_LIFE."""
        now = self._now()
        await self._write(
            lambda transaction: attachment_rows.insert(transaction, attachment, now, uploaded=True)
        )

    async def upload(self, upload_id: str) -> Attachment | None:
        """Return an upload that a message may use; None if there is none."""
        since = self._now() - UPLOAD_LIFE_MICROSECONDS
        return await self._database.read(
            lambda transaction: attachment_rows.upload(transaction, upload_id, since)
        )

    async def attachment(self, conversation_id: str, attachment_id: str) -> Attachment | None:
        """Return an attachment that the conversation uses; None if it uses no such one.

        Raises UnknownConversation.
        """

        def select(transaction: Transaction) -> Attachment | None:
            key = conversation_key(transaction, conversation_id)
            return attachment_rows.used(transaction, key, attachment_id)

        return await self._database.read(select)

    async def attachment_bytes(self) -> int:
        """Return the bytes of all attachments."""
        sql = "SELECT coalesce(sum(size), 0) FROM attachments"
        return await self._database.read(lambda transaction: transaction.number(sql))

    async def attachment_ids(self) -> set[str]:
        """Return the ids of all attachments, which are the names of their files."""
        sql = "SELECT id FROM attachments"
        return await self._database.read(
            lambda transaction: {row[0] for row in transaction.each(sql)}
        )

    async def end_attachments(self, lost: Collection[str] = ()) -> list[str]:
        """End what is older than UPLOAD_LIFE and used by no conversation, or lost.

        lost: ids of attachments without a file. Returns the ids of all attachments that have ended
        and whose files are still to be removed; see `forget_ended`.
        """
        before = self._now() - UPLOAD_LIFE_MICROSECONDS
        if not lost and not await self._database.read(
            lambda transaction: attachment_rows.has_ended(transaction, before)
        ):
            return []

        def end(transaction: Transaction) -> list[str]:
            attachment_rows.expire(transaction, before)
            attachment_rows.end_lost(transaction, lost, before)
            return [row[0] for row in transaction.each("SELECT id FROM attachments_ended")]

        return await self._write(end)

    async def forget_ended(self, names: Collection[str]) -> None:
        """Forget attachments that have ended, after their files were removed."""
        sql = "DELETE FROM attachments_ended WHERE id = ?"
        await self._write(
            lambda transaction: transaction.change_many(sql, [(name,) for name in names])
        )
