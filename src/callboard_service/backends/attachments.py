"""The attachments of the conversations that a store keeps: rows in it, and files beside it."""

import errno
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal
from uuid import uuid4

from actors import Code, Failure
from callboard.v1.chat_pb2 import Attachment
from callboard_service.scratch import Scratch, make_scratch
from callboard_service.store.attachment_files import AttachmentFiles, NewFile

if TYPE_CHECKING:
    from callboard_service.backends.stored import StoredConversations
    from callboard_service.store.store import ConversationStore

FOLDER: Final = "attachments"
"""The folder in the data folder. Each database has a folder of its own in it."""

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class KeptAttachments:
    """Keeps attachments beside the database at `path`; in a scratch folder if that is in memory.

    Every coroutine method but `open` and `close` raises Failure: UNAVAILABLE or RESOURCE_EXHAUSTED
    if the disk or the store does not do it.
    """

    def __init__(self, owner: "StoredConversations", path: Path | Literal[":memory:"]) -> None:
        self._owner = owner
        self._path = path
        self._scratch: Scratch | None = None
        self._files = AttachmentFiles(self._make_scratch)

    async def open(self, store: "ConversationStore") -> str:
        """Use the folder of this store, and remove what a service that was killed has left there.

        Returns a line for a person if that could not be done; empty if it was. Raises StoreError.
        """
        if not isinstance(self._path, Path):
            return ""
        name = f"{self._path.stem}-{await store.attachment_folder()}"
        folder = self._path.parent / FOLDER / name
        self._files.move(lambda: folder)
        try:
            # Most services have no attachments, and need no thread for them. The files are listed
            # first: one that comes in between then counts neither as left over nor as lost.
            found = await self._files.names() if folder.exists() else set[str]()
            known = await store.attachment_ids()
            if left := found - known:
                await self._files.remove(left)
            lost = known - found - self._files.active
            if ended := await store.end_attachments(lost):
                await self._files.remove(ended)
                await store.forget_ended(ended)
        except OSError as error:
            return f"old attachments in {folder} cannot be removed: {error.strerror}"
        return ""

    async def close(self) -> None:
        """End the thread, and remove the scratch folder, if there is one."""
        await self._files.close()
        scratch, self._scratch = self._scratch, None
        if scratch is not None:
            self._files.move(self._make_scratch)
            scratch.remove()

    def new(self) -> NewFile:
        """Return a file for the content of a new attachment, whose id is its name."""
        return self._files.new(uuid4().hex)

    async def write(self, file: NewFile, data: bytes) -> None:
        """Append data to a new file."""
        try:
            await file.write(data)
        except OSError as error:
            raise disk_failure(error) from error

    async def finish(self, file: NewFile) -> bytes:
        """Give a new file, which is whole, its name; return its SHA-256."""
        try:
            return await file.finish()
        except OSError as error:
            raise disk_failure(error) from error

    async def add_upload(self, attachment: Attachment) -> None:
        """Add an upload, whose file is whole."""
        await self._owner.write(lambda store: store.add_upload(attachment))

    async def upload(self, upload_id: str) -> Attachment | None:
        """Return an upload that a message may use; None if there is none."""
        return await self._owner.read(lambda store: store.upload(upload_id))

    async def get(self, conversation_id: str, attachment_id: str) -> Attachment:
        """Return an attachment that the conversation uses. Raises Failure: NOT_FOUND."""
        found = await self._owner.read(
            lambda store: store.attachment(conversation_id, attachment_id)
        )
        if found is None:
            raise _not_found(attachment_id)
        return found

    async def read(self, attachment_id: str, offset: int = 0, size: int = -1) -> bytes:
        """Return up to `size` bytes of an attachment from `offset` on; -1: all of them.

        Raises Failure: NOT_FOUND if it has no file.
        """
        try:
            return await self._files.read(attachment_id, offset, size)
        except FileNotFoundError:
            raise _not_found(attachment_id) from None
        except OSError as error:
            raise disk_failure(error) from error

    async def bytes_used(self) -> int:
        """Return the bytes of all attachments, whether a message uses them or not yet."""
        return await self._owner.read(lambda store: store.attachment_bytes())

    async def clean_up(self) -> None:
        """End uploads that have expired, and remove the files of what has ended.

        What fails is done the next time.
        """
        with suppress(Failure, OSError):
            if ended := await self._owner.write(lambda store: store.end_attachments()):
                await self._files.remove(ended)
                await self._owner.write(lambda store: store.forget_ended(ended))

    def _make_scratch(self) -> Path:
        self._scratch = self._scratch or make_scratch()
        return self._scratch.path


def disk_failure(error: OSError) -> Failure:
    """Return the Failure of a request that needs a file which cannot be read or written."""
    if error.errno in _FULL:
        message = "the disk of the attachments is full"
        return Failure(Code.RESOURCE_EXHAUSTED, message, retryable=True)
    message = f"an attachment cannot be read or written: {error.strerror}"
    return Failure(Code.UNAVAILABLE, message, retryable=True)


def _not_found(attachment_id: str) -> Failure:
    return Failure(Code.NOT_FOUND, f"there is no attachment {attachment_id[:80]!r}")
