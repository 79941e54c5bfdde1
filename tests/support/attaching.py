"""Helpers for tests of attachments: uploads, messages that use them, and what is kept."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from actors import Failure
from actors.testing import Answers
from callboard.v1.chat_pb2 import (
    Attachment,
    GetAttachmentRequest,
    SendMessageRequest,
    TurnInfo,
    UploadChunk,
    Uploaded,
    UploadRequest,
)
from tests.support.conversing import Talk


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("attachments/*/*") if path.is_file())


def begin(talk: Talk[Any], size: int = 3, **fields: Any) -> Answers[Uploaded]:
    described = {"name": "a.txt", "media_type": "text/plain"} | fields
    return talk.calls.stream(UploadRequest(size=size, **described), Uploaded)


async def upload(talk: Talk[Any], *chunks: bytes, **fields: Any) -> Uploaded:
    uploading = begin(talk, **({"size": sum(map(len, chunks))} | fields))
    for chunk in chunks:
        uploading.send(UploadChunk(data=chunk))
    uploading.finish()
    (uploaded,) = [answer async for answer in uploading]
    return uploaded


async def refused(talk: Talk[Any], *chunks: bytes, **fields: Any) -> Failure:
    with pytest.raises(Failure) as caught:
        await upload(talk, *chunks, **fields)
    return caught.value


async def message_refused(talk: Talk[Any], *attachments: Attachment, **fields: Any) -> Failure:
    """Send a message that is refused, check that nothing is kept of it, and return why."""
    with pytest.raises(Failure) as caught:
        await message(talk, *attachments, message_id="refused", **fields)
    found = await talk.backend.journal.find_turn(talk.conversation, message_id="refused")
    assert found is None
    return caught.value


async def message(talk: Talk[Any], *attachments: Attachment, **fields: Any) -> TurnInfo:
    """Send a message that nobody streams, and return its turn."""
    request = SendMessageRequest(
        session_id=talk.conversation, attachments=attachments, admit_only=True, **fields
    )
    return await talk.calls.call(request, TurnInfo)


def inline(data: bytes = b"abc", **fields: Any) -> Attachment:
    return Attachment(data=data, **({"name": "a.txt", "media_type": "text/plain"} | fields))


async def content(talk: Talk[Any], attachment_id: str) -> list[bytes]:
    """Return the chunks of an attachment."""
    request = GetAttachmentRequest(session_id=talk.conversation, attachment_id=attachment_id)
    return [chunk.data async for chunk in talk.calls.stream(request, UploadChunk)]


async def until_gone(folder: Path) -> None:
    """Wait until no file is left, for at most ten seconds."""
    async with asyncio.timeout(10):
        while files_in(folder):  # noqa: ASYNC110 - a thread removes them
            await asyncio.sleep(0)
