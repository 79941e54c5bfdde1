"""Uploads: what is refused, the quota, what is read back, and what expires."""

import asyncio
import errno
import hashlib
import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from actors import ActorSystem, Code, Failure
from actors.testing import ManualClock
from callboard.v1.chat_pb2 import (
    Attachment,
    GetAttachmentRequest,
    UploadChunk,
)
from callboard_service.backends.echo.backend import EchoBackend
from callboard_service.chat.attaching import (
    CHUNK_BYTES,
    CLEAN_UP,
    UPLOADS_AT_ONCE,
)
from callboard_service.store.turn_store import UPLOAD_LIFE
from tests.support.attaching import (
    begin,
    content,
    files_in,
    inline,
    message,
    message_refused,
    refused,
    until_gone,
    upload,
)
from tests.support.chat_kit import ScriptedBackend
from tests.support.conversing import Talk, conversing, text_of
from tests.support.cues import Cues
from tests.support.store_kit import Clock

Echo = Talk[EchoBackend]


async def test_an_upload_is_used_by_a_message_and_read_back(talk: Echo, tmp_path: Path) -> None:
    data = bytes(range(256)) * (CHUNK_BYTES // 256) + b"rest"
    uploaded = await upload(talk, data[:CHUNK_BYTES], data[CHUNK_BYTES:])
    assert uploaded.sha256 == hashlib.sha256(data).digest()
    used = Attachment(upload_id=uploaded.upload_id, name="other name.txt")
    events = await talk.all("hi", attachments=[used])
    assert text_of(events) == f"[other name.txt text/plain {len(data)} bytes]hi"
    (kept,) = (await talk.entries())[0].attachments
    assert kept == Attachment(
        id=kept.id, name="other name.txt", media_type="text/plain", size=len(data)
    )
    assert await content(talk, kept.id) == [data[:CHUNK_BYTES], b"rest"]
    assert [file.name for file in files_in(tmp_path)] == [kept.id]


async def test_an_empty_file_can_be_uploaded_and_sent(talk: Echo) -> None:
    uploaded = await upload(talk)
    info = await message(talk, Attachment(upload_id=uploaded.upload_id), inline(b""))
    assert [attachment.size for attachment in info.attachments] == [0, 0]
    assert [await content(talk, attachment.id) for attachment in info.attachments] == [[], []]


@pytest.mark.parametrize(
    ("chunks", "fields", "said"),
    [
        ([b"ab"], {"size": 3}, "2 bytes, not the 3"),
        ([b"abc", b"d"], {"size": 3}, "more than the 3"),
        ([bytes(CHUNK_BYTES + 1)], {}, f"at most {CHUNK_BYTES}"),
        ([b"abc"], {"sha256": bytes(32)}, "another SHA-256"),
        ([b"abc"], {"sha256": b"short"}, "32 bytes"),
        ([b"abc"], {"name": "a/b"}, "no path"),
        ([b"abc"], {"media_type": "text"}, "no media type"),
    ],
)
async def test_an_upload_that_is_not_what_it_says_leaves_nothing(
    talk: Echo, tmp_path: Path, chunks: Sequence[bytes], fields: dict[str, Any], said: str
) -> None:
    failure = await refused(talk, *chunks, **fields)
    assert failure.code is Code.INVALID_ARGUMENT
    assert said in failure.message
    await until_gone(tmp_path)
    assert await talk.backend.attachments.bytes_used() == 0


async def test_a_digest_that_is_right_is_accepted(talk: Echo) -> None:
    digest = hashlib.sha256(b"abc").digest()
    assert (await upload(talk, b"abc", sha256=digest)).sha256 == digest


async def test_a_session_has_four_uploads_at_once(talk: Echo, tmp_path: Path) -> None:
    uploads = [begin(talk) for _ in range(UPLOADS_AT_ONCE)]
    failure = await refused(talk, b"abc")
    assert (failure.code, failure.retryable) == (Code.RESOURCE_EXHAUSTED, True)
    uploads[0].cancel()
    with pytest.raises(Failure):
        await anext(uploads[0])
    async with asyncio.timeout(10):
        while True:  # until the handler of the cancelled one has ended
            try:
                await upload(talk, b"abc")
            except Failure as failure:
                assert failure.retryable
            else:
                break
    assert len(files_in(tmp_path)) == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [(errno.ENOSPC, Code.RESOURCE_EXHAUSTED), (errno.EIO, Code.UNAVAILABLE)],
)
async def test_a_disk_that_does_not_take_an_upload_is_reported(
    talk: Echo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int, code: Code
) -> None:
    def write(descriptor: int, data: object) -> int:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr("callboard_service.store.attachment_files.os.write", write)
    failure = await refused(talk, b"abc")
    assert (failure.code, failure.retryable) == (code, True)
    assert (await message_refused(talk, inline())).code is code
    await until_gone(tmp_path)
    monkeypatch.undo()
    await upload(talk, b"abc")


async def test_a_backend_without_uploads_says_so(actor_system: ActorSystem) -> None:
    async with conversing(ScriptedBackend(Cues()), actor_system) as talk:
        assert (await refused(talk, b"abc")).code is Code.UNIMPLEMENTED
        assert (await message_refused(talk, inline())).code is Code.UNIMPLEMENTED


async def test_an_upload_takes_its_place_in_the_quota_at_once(
    actor_system: ActorSystem, tmp_path: Path
) -> None:
    backend = EchoBackend(pytest.fail, tmp_path / "echo.sqlite3")
    async with conversing(backend, actor_system, quota=10) as talk:
        failure = await refused(talk, b"", size=11)
        assert (failure.code, failure.retryable) == (Code.RESOURCE_EXHAUSTED, False)
        unfinished = begin(talk, 6)
        assert (await refused(talk, b"", size=5)).code is Code.RESOURCE_EXHAUSTED
        assert (await message_refused(talk, inline(b"12345"))).code is Code.RESOURCE_EXHAUSTED
        await message(talk, inline(b"1234"))
        unfinished.send(UploadChunk(data=b"123456"), last=True)
        assert [answer async for answer in unfinished]
        assert (await refused(talk, b"", size=1)).code is Code.RESOURCE_EXHAUSTED
        assert len(files_in(tmp_path)) == 2


async def test_only_what_the_conversation_uses_is_found(talk: Echo) -> None:
    uploaded = await upload(talk, b"abc")
    (attachment,) = (await message(talk, inline())).attachments
    for unknown in (uploaded.upload_id, "", "../echo.sqlite3"):
        with pytest.raises(Failure) as caught:
            await content(talk, unknown)
        assert caught.value.code is Code.NOT_FOUND
    await talk.idle()
    await talk.renew()
    with pytest.raises(Failure) as caught:
        await content(talk, attachment.id)
    assert caught.value.code is Code.NOT_FOUND


async def test_an_attachment_is_read_no_faster_than_it_is_taken(
    talk: Echo, manual_clock: ManualClock
) -> None:
    (attachment,) = (await message(talk, inline(bytes(3 * CHUNK_BYTES)))).attachments
    request = GetAttachmentRequest(session_id=talk.conversation, attachment_id=attachment.id)
    with pytest.MonkeyPatch.context() as patch:
        read: list[int] = []
        original = talk.backend.attachments.read

        async def note(name: str, offset: int = 0, size: int = -1) -> bytes:
            read.append(offset)
            return await original(name, offset, size)

        patch.setattr(talk.backend.attachments, "read", note)
        chunks = talk.calls.stream(request, UploadChunk)
        assert len((await anext(chunks)).data) == CHUNK_BYTES
        await manual_clock.settle()
        assert len(read) <= 2
        assert [len(chunk.data) async for chunk in chunks] == [CHUNK_BYTES] * 2
        assert read == [0, CHUNK_BYTES, 2 * CHUNK_BYTES]


async def test_an_upload_that_no_message_uses_expires_after_an_hour(
    talk: Echo, tmp_path: Path, manual_clock: ManualClock
) -> None:
    clock = Clock()
    assert talk.backend._store is not None
    talk.backend._store._clock = clock
    kept, lost = [Attachment(upload_id=(await upload(talk, b"abc")).upload_id) for _ in range(2)]
    clock.pass_seconds(UPLOAD_LIFE.total_seconds())
    await message(talk, kept)
    clock.now += timedelta(microseconds=1)
    assert "expired" in (await message_refused(talk, lost)).message
    assert len(files_in(tmp_path)) == 2
    await manual_clock.advance(CLEAN_UP)
    async with asyncio.timeout(10):
        while len(files_in(tmp_path)) > 1:  # noqa: ASYNC110 - a thread removes it
            await asyncio.sleep(0)
    while await talk.backend.attachments.bytes_used() != 3:
        pass
    await talk.idle()
    clock.now += 10 * UPLOAD_LIFE
    await manual_clock.advance(CLEAN_UP)
    (entry, _) = await talk.entries()
    assert await content(talk, entry.attachments[0].id) == [b"abc"]
