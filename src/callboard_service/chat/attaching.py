"""Attachments: sent in a message or uploaded beforehand, and downloaded."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Final

from actors import Actor, Code, DuplexActor, Failure, Last, Registry, StreamActor
from callboard.v1.chat_pb2 import (
    Attachment,
    GetAttachmentRequest,
    UploadChunk,
    Uploaded,
    UploadRequest,
)
from callboard_service.backends.base import ChatBackend
from callboard_service.chat.listing import Listing
from callboard_service.store.attachment_files import NewFile
from callboard_service.store.kept_turns import Admission, NewTurn

MAX_ATTACHMENTS: Final = 16
"""Attachments of one message."""

MAX_NAME: Final = 255
"""Bytes of an attachment's name in UTF-8."""

MAX_MEDIA_TYPE: Final = 255
"""Characters of a media type with its parameters."""

CHUNK_BYTES: Final = 256 * 1024
"""The most bytes of an UploadChunk."""

UPLOADS_AT_ONCE: Final = 4
"""Uploads of one session that run at once."""

DEFAULT_QUOTA: Final = 1024**3
"""Bytes that all attachments may take."""

CLEAN_UP: Final = 300.0
"""Seconds between two searches for uploads that have expired."""

# The names of RFC 6838, section 4.2, and parameters as in RFC 9110, section 5.6.6.
_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_TOKEN: Final = r"[\w!#$%&'*+.^`|~-]+"  # noqa: S105 - the RFC's word
_MEDIA_TYPE: Final = re.compile(
    rf'{_NAME}/{_NAME}(?:[ \t]*;[ \t]*{_TOKEN}=(?:{_TOKEN}|"[^"\\\x00-\x1f\x7f]*"))*', re.ASCII
)
_NO_PATH: Final = re.compile(r"[/\\\x00-\x1f\x7f]")


class Attachments:
    """Takes the attachments of a backend's conversations, within a quota in bytes."""

    def __init__(self, backend: ChatBackend, quota: int = DEFAULT_QUOTA) -> None:
        self._backend = backend
        self._kept = backend.journal.attachments
        self._quota = quota
        self._reserved = 0
        self._uploads: Counter[str] = Counter()
        self._reserving = asyncio.Lock()

    # -- messages ----------------------------------------------------------------------------

    async def admit(
        self, conversation_id: str, turn: NewTurn, given: Sequence[Attachment]
    ) -> Admission:
        """Admit a message with what it brings; see `TurnJournal.admit`.

        Files are written first, so that no message names one that is not whole. A message that is
        not admitted leaves none. Raises Failure: INVALID_ARGUMENT for an attachment that cannot be
        taken, RESOURCE_EXHAUSTED if the quota does not allow it.
        """
        journal = self._backend.journal
        if not given:
            return await journal.admit(conversation_id, turn)
        attachments = [await self._described(attachment) for attachment in given]
        self._backend.check_attachments(attachments)
        files: list[NewFile] = []
        try:
            async with self._space(sum(len(attachment.data) for attachment in given)):
                for attachment, one in zip(attachments, given, strict=True):
                    if not attachment.upload_id:
                        attachment.id = await self._save(one.data, files)
                admitted = await journal.admit(
                    conversation_id, replace(turn, attachments=tuple(attachments))
                )
        except Exception:  # if it is cancelled, the message may have been admitted
            for file in files:
                file.discard()
            raise
        for file in files:
            if admitted.repeated:
                file.discard()
            else:
                file.keep()
        return admitted

    async def _described(self, given: Attachment) -> Attachment:
        """Return a copy without the data, with what is known of the upload that it names.

        Raises Failure: INVALID_ARGUMENT.
        """
        described = Attachment(name=given.name, media_type=given.media_type)
        match given.WhichOneof("content"):
            case "data":
                described.size = len(given.data)
            case "upload_id":
                found = await self._kept.upload(given.upload_id)
                if found is None:
                    message = f"there is no upload {given.upload_id[:80]!r}; it may have expired"
                    raise Failure(Code.INVALID_ARGUMENT, message)
                described.id, described.size = found.id, found.size
                described.upload_id = found.id
                described.name = given.name or found.name
                described.media_type = given.media_type or found.media_type
            case _:
                message = "an attachment needs data or an upload_id"
                raise Failure(Code.INVALID_ARGUMENT, message)
        check_description(described.name, described.media_type)
        return described

    async def _save(self, data: bytes, files: list[NewFile]) -> str:
        """Write a file, add it to `files`, and return its name."""
        file = self._kept.new()
        files.append(file)
        await self._kept.write(file, data)
        await self._kept.finish(file)
        return file.name

    # -- uploads -----------------------------------------------------------------------------

    @contextmanager
    def slot(self, session: str) -> Iterator[None]:
        """Count an upload of this session. Raises Failure if it has too many."""
        if self._uploads[session] >= UPLOADS_AT_ONCE:
            message = f"a session may have {UPLOADS_AT_ONCE} uploads at once"
            raise Failure(Code.RESOURCE_EXHAUSTED, message, retryable=True)
        self._uploads[session] += 1
        try:
            yield
        finally:
            self._uploads[session] -= 1
            if not self._uploads[session]:
                del self._uploads[session]

    async def upload(self, request: UploadRequest, chunks: AsyncIterator[UploadChunk]) -> Uploaded:
        """Take an upload, and return it. Raises Failure, and keeps nothing then."""
        check_description(request.name, request.media_type)
        if len(request.sha256) not in (0, 32):
            raise Failure(Code.INVALID_ARGUMENT, "a SHA-256 has 32 bytes")
        described = Attachment(name=request.name, media_type=request.media_type, size=request.size)
        self._backend.check_attachments([described])
        async with self._space(request.size):
            file = self._kept.new()
            try:
                digest = await self._receive(file, request, chunks)
                described.id = file.name
                await self._kept.add_upload(described)
            except BaseException:
                file.discard()
                raise
            file.keep()
        return Uploaded(upload_id=file.name, sha256=digest)

    async def _receive(
        self, file: NewFile, request: UploadRequest, chunks: AsyncIterator[UploadChunk]
    ) -> bytes:
        """Write an upload into the file and return its SHA-256. Raises Failure."""
        async for chunk in chunks:
            size = len(chunk.data)
            if size > CHUNK_BYTES:
                message = f"a chunk has {size} bytes; at most {CHUNK_BYTES} are allowed"
                raise Failure(Code.INVALID_ARGUMENT, message)
            if file.size + size > request.size:
                message = f"the upload has more than the {request.size} bytes that it announced"
                raise Failure(Code.INVALID_ARGUMENT, message)
            await self._kept.write(file, chunk.data)
        if file.size != request.size:
            message = f"the upload has {file.size} bytes, not the {request.size} that it announced"
            raise Failure(Code.INVALID_ARGUMENT, message)
        digest = await self._kept.finish(file)
        if request.sha256 and request.sha256 != digest:
            raise Failure(Code.INVALID_ARGUMENT, "the upload has another SHA-256")
        return digest

    @asynccontextmanager
    async def _space(self, size: int) -> AsyncIterator[None]:
        """Reserve bytes of the quota within the block. Raises Failure, RESOURCE_EXHAUSTED."""
        async with self._reserving:
            used = await self._kept.bytes_used() + self._reserved
            if used + size > self._quota:
                message = (
                    f"{size} bytes do not fit: attachments take {used} of {self._quota} bytes; "
                    "delete conversations to make room"
                )
                raise Failure(Code.RESOURCE_EXHAUSTED, message)
            self._reserved += size
        try:
            yield
        finally:
            self._reserved -= size


def unfit(attachments: Sequence[Attachment]) -> Failure | None:
    """Return why a message cannot have these attachments, or None.

    Checks only their number and their upload ids.
    """
    if len(attachments) > MAX_ATTACHMENTS:
        message = f"a message has at most {MAX_ATTACHMENTS} attachments"
        return Failure(Code.INVALID_ARGUMENT, message)
    uploads = [each.upload_id for each in attachments if each.upload_id]
    if len(set(uploads)) < len(uploads):
        return Failure(Code.INVALID_ARGUMENT, "two attachments name the same upload")
    return None


def check_description(name: str, media_type: str) -> None:
    """Raise Failure, INVALID_ARGUMENT, unless these are a file's name and a media type."""
    problem = ""
    if not name or name in (".", ".."):
        problem = "an attachment needs a name"
    elif len(name.encode(errors="replace")) > MAX_NAME:
        problem = f"the name of an attachment is longer than {MAX_NAME} bytes"
    elif _NO_PATH.search(name):
        problem = f"the name of an attachment is no path: {name[:80]!r}"
    elif len(media_type) > MAX_MEDIA_TYPE or not _MEDIA_TYPE.fullmatch(media_type):
        problem = f"{media_type[:80]!r} is no media type, such as text/plain"
    if problem:
        raise Failure(Code.INVALID_ARGUMENT, problem)


class Upload(DuplexActor[UploadRequest, UploadChunk, Uploaded]):
    """Takes the content of an attachment before the message that uses it."""

    def __init__(self, attachments: Attachments, listing: Listing) -> None:
        self._attachments = attachments
        self._listing = listing

    async def handle(
        self, request: UploadRequest, inputs: AsyncIterator[UploadChunk]
    ) -> AsyncIterator[Last[Uploaded]]:
        """Yield the upload, once all of it is kept. Raises Failure."""
        self._listing.require("uploads")
        with self._attachments.slot(self.context.session):
            uploaded = await self._attachments.upload(request, inputs)
        yield Last(uploaded)


class GetAttachment(StreamActor[GetAttachmentRequest, UploadChunk]):
    """Answers with the content of an attachment."""

    def __init__(self, backend: ChatBackend) -> None:
        self._kept = backend.journal.attachments

    async def handle(self, request: GetAttachmentRequest) -> AsyncIterator[UploadChunk]:
        """Yield the content, a chunk at a time. Raises Failure: NOT_FOUND."""
        found = await self._kept.get(request.session_id, request.attachment_id)
        for offset in range(0, found.size, CHUNK_BYTES):
            yield UploadChunk(data=await self._kept.read(found.id, offset, CHUNK_BYTES))


class CleanUp:
    """Look for uploads that have expired."""


class AttachmentCleaner(Actor[CleanUp]):
    """Removes the uploads that no message has used in time, and what could not be removed then."""

    def __init__(self, backend: ChatBackend) -> None:
        self._kept = backend.journal.attachments

    def started(self) -> None:
        """Wait for the first time."""
        self.context.after(CLEAN_UP, CleanUp())

    async def receive(self, message: CleanUp) -> None:
        """Clean up, and wait for the next time."""
        await self._kept.clean_up()
        self.context.after(CLEAN_UP, message)


def register(
    registry: Registry, backend: ChatBackend, listing: Listing, attachments: Attachments
) -> None:
    """Register the actor types that take attachments, give them back and remove them."""
    registry.supervise("attachments", lambda: AttachmentCleaner(backend))
    registry.register_duplex(UploadRequest, UploadChunk, lambda: Upload(attachments, listing))
    registry.register(GetAttachmentRequest, lambda: GetAttachment(backend))
