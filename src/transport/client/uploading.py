"""Uploads: the content of an attachment, sent before the message that uses it."""

from collections.abc import AsyncIterable, AsyncIterator
from typing import TYPE_CHECKING, Final

from callboard.v1.chat_pb2 import ChatCompleted, UploadChunk, Uploaded, UploadRequest
from transport.errors import UnexpectedAnswer

if TYPE_CHECKING:
    from transport.client import Client

CHUNK_BYTES: Final = 256 * 1024
"""The most bytes of an UploadChunk."""

_HEAD: Final = 1024
"""Bytes reserved in a frame for all but a chunk's data."""


async def upload(
    client: "Client",
    request: UploadRequest,
    data: bytes | AsyncIterable[bytes],
    timeout: float | None,
) -> Uploaded:
    """Send an upload in chunks as the service takes them, and return its answer.

    Raises as `Client.upload` does.
    """
    limit = client.welcome.limits.max_message_bytes or CHUNK_BYTES + _HEAD
    size = max(1, min(CHUNK_BYTES, limit - _HEAD))
    uploaded: Uploaded | None = None
    async with client.duplex(request, UploadChunk, Uploaded, timeout=timeout) as stream:
        async for chunk in _chunks(data, size):
            if not await stream.send(UploadChunk(data=chunk)):
                break  # refused: the answer says why
        else:
            stream.finish()
        async for uploaded in stream:  # noqa: B007 - there is only one
            pass
    if uploaded is None:
        raise UnexpectedAnswer(ChatCompleted())
    return uploaded


async def _chunks(data: bytes | AsyncIterable[bytes], size: int) -> AsyncIterator[bytes]:
    """Yield the data in pieces of at most `size` bytes."""
    if isinstance(data, bytes):
        for start in range(0, len(data), size):
            yield data[start : start + size]
        return
    async for piece in data:
        for start in range(0, len(piece), size):
            yield piece[start : start + size]
