"""The files that go with the next message: chosen, checked, sent in the message or before it."""

import asyncio
import hashlib
import mimetypes
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from callboard.v1.chat_pb2 import (
    Attachment,
    GetAttachmentRequest,
    UploadChunk,
    Uploaded,
    UploadRequest,
)
from callboard_service.terminal.errors import BadCommand
from callboard_service.terminal.layout import attachment_text
from callboard_service.terminal.text import one_line
from transport.client import Client
from transport.client.stream import Duplex
from transport.errors import RequestFailed, UnexpectedAnswer

CHUNK: Final = 256 * 1024
"""Bytes in a message of an upload: the most that the contract allows."""

MARGIN: Final = 4 * 1024
"""Bytes of a frame that the message itself and the descriptions of attachments may take."""

INLINE: Final = 1024 * 1024
"""The most bytes that are sent in a message, if the service sets no limit."""

_SNIFFED: Final = 4096


@dataclass(frozen=True, slots=True)
class Item:
    """A file to attach: at `path`, or, if that is None, its bytes."""

    name: str
    media_type: str
    size: int
    path: Path | None = None
    data: bytes = b""

    def described(self) -> Attachment:
        """Return the attachment without its content."""
        return Attachment(name=self.name, media_type=self.media_type, size=self.size)

    def chunks(self) -> Iterator[bytes]:
        """Yield the content in pieces of CHUNK bytes. Raises BadCommand."""
        if self.path is None:
            for start in range(0, len(self.data), CHUNK):
                yield self.data[start : start + CHUNK]
            return
        try:
            with self.path.open("rb") as file:
                while piece := file.read(CHUNK):
                    yield piece
        except OSError as error:
            raise _unreadable(self.path, error) from error


class Tray:
    """The files for the next message, in their order."""

    def __init__(self) -> None:
        self.items: list[Item] = []

    def add(self, typed: str) -> Item:
        """Add the file at a path that was typed. Raises BadCommand."""
        item = read_item(Path(_unquoted(typed)).expanduser())
        self.items.append(item)
        return item

    async def load(self, text: str, client: Client) -> list[Attachment]:
        """Return the attachments for a message with this text, after uploading what is too large.

        Raises BadCommand, RequestFailed and ConnectionClosed.
        """
        limit = client.welcome.limits.max_message_bytes or INLINE
        room = limit - len(text.encode()) - MARGIN
        loaded = []
        for item in self.items:
            if item.size + MARGIN <= room:
                attachment = Attachment(name=item.name, media_type=item.media_type)
                attachment.data = await asyncio.to_thread(_content, item)
                room -= len(attachment.data) + MARGIN
            else:
                attachment = await _upload(client, item, min(CHUNK, max(limit - MARGIN, 1)))
            loaded.append(attachment)
        return loaded


async def fetch(conversation_id: str, attachment: Attachment, client: Client) -> Item:
    """Return an attachment of a message in a conversation, with its bytes.

    Raises RequestFailed, ConnectionClosed.
    """
    request = GetAttachmentRequest(session_id=conversation_id, attachment_id=attachment.id)
    async with client.stream(request, UploadChunk) as chunks:
        data = b"".join([chunk.data async for chunk in chunks])
    return Item(attachment.name, attachment.media_type, len(data), data=data)


def read_item(path: Path) -> Item:
    """Return the file at this path. Raises BadCommand if it cannot be read or is not a file."""
    try:
        if path.is_dir():
            raise BadCommand(f"{one_line(str(path))} is a folder")
        if not path.is_file() and path.exists():
            raise BadCommand(f"{one_line(str(path))} is not a file")
        with path.open("rb") as file:
            head = file.read(_SNIFFED)
        size = path.stat().st_size
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if not size:
        raise BadCommand(f"{one_line(str(path))} is empty")
    return Item(path.name, _media_type(path, head), size, path)


def _media_type(path: Path, head: bytes) -> str:
    guessed, encoding = mimetypes.guess_type(path.name)
    if encoding is not None:
        return f"application/{encoding}"
    if guessed is not None:
        return guessed
    return "application/octet-stream" if b"\0" in head or not _is_text(head) else "text/plain"


def _is_text(head: bytes) -> bool:
    try:
        head.decode()
    except UnicodeDecodeError as error:
        # The last character may be cut off.
        return error.start >= len(head) - 3 and len(head) == _SNIFFED
    return True


def _unreadable(path: Path, error: OSError | ValueError) -> BadCommand:
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return BadCommand(f"cannot read {one_line(str(path))}: {one_line(reason)}")


def _unquoted(typed: str) -> str:
    quoted = len(typed) > 1 and typed[0] == typed[-1] and typed[0] in "'\""
    return typed[1:-1] if quoted else typed.replace("\\ ", " ")


async def _upload(client: Client, item: Item, piece: int) -> Attachment:
    digest = await asyncio.to_thread(_digest, item)
    request = UploadRequest(
        name=item.name, media_type=item.media_type, size=item.size, sha256=digest
    )
    uploaded: Uploaded | None = None
    async with client.duplex(request, UploadChunk, Uploaded) as stream:
        sending = asyncio.ensure_future(_send(stream, item, piece))
        try:
            async for answer in stream:
                uploaded = answer
        except RequestFailed:
            if sending.done():
                sending.result()  # a file that cannot be read any more is the better reason
            raise
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
    if uploaded is None:
        raise UnexpectedAnswer(Uploaded())
    return Attachment(name=item.name, media_type=item.media_type, upload_id=uploaded.upload_id)


async def _send(stream: Duplex[UploadChunk, Uploaded], item: Item, piece: int) -> None:
    try:
        for chunk in item.chunks():
            for start in range(0, len(chunk), piece):
                if not await stream.send(UploadChunk(data=chunk[start : start + piece])):
                    return
        stream.finish()
    except BadCommand:
        stream.cancel()  # else the answer would be waited for forever
        raise


def _content(item: Item) -> bytes:
    return b"".join(item.chunks())


def _digest(item: Item) -> bytes:
    digest = hashlib.sha256()
    for chunk in item.chunks():
        digest.update(chunk)
    return digest.digest()


def tray_rows(items: list[Item]) -> list[tuple[str, ...]]:
    """Return the files as rows of a table: number, description, media type."""
    return [
        (f"{n}.", attachment_text(item.described()), one_line(item.media_type, 60))
        for n, item in enumerate(items, 1)
    ]
