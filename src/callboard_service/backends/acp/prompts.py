"""A message with its attachments, in the form in which an agent takes it."""

from base64 import b64encode
from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from urllib.parse import quote

from callboard.v1.chat_pb2 import Attachment
from callboard_service.backends import attached
from callboard_service.backends.attached import (
    MAX_ATTACHED,
    content_of,
    kind_of,
    missing,
    plain_type,
    read_text,
)
from callboard_service.backends.fields import Table

TEXT: Final = "text"
TEXT_AND_IMAGES: Final = "text and PNG, JPEG, WebP and GIF images"


def check(attachments: Sequence[Attachment], *, images: bool) -> None:
    """Raise Failure, INVALID_ARGUMENT, if a message cannot have these.

    images: whether the agent takes images.
    """
    kinds = ("image", "text") if images else ("text",)
    takes = TEXT_AND_IMAGES if images else TEXT
    attached.check(attachments, lambda one: kind_of(one) in kinds, takes, MAX_ATTACHED)


async def blocks_of(
    text: str,
    attachments: Sequence[Attachment],
    accepts: Table,
    read: Callable[[str], Awaitable[bytes]],
) -> list[Table]:
    """Return a message as blocks, the text first: it may be a command.

    accepts: the agent's promptCapabilities. read: returns the content of an attachment. Raises
    Failure: INVALID_ARGUMENT for an image that the agent does not take, and that of `read`, but
    NOT_FOUND: then the agent is told that the file is missing.
    """
    check(attachments, images=accepts.get("image") is True)
    embeds = accepts.get("embeddedContext") is True
    files = [await _block(one, read, embeds=embeds) for one in attachments]
    return [text_block(text), *files] if text or not files else files


async def _block(
    attachment: Attachment, read: Callable[[str], Awaitable[bytes]], *, embeds: bool
) -> Table:
    is_image = kind_of(attachment) == "image"
    if not (is_image or embeds):
        return text_block(await read_text(attachment, read))
    content = await content_of(attachment, read)
    if content is None:
        return text_block(missing(attachment))
    media_type = plain_type(attachment)
    if is_image:
        return {"type": "image", "mimeType": media_type, "data": b64encode(content).decode()}
    resource = {
        "uri": f"attachment:///{quote(attachment.name)}",
        "mimeType": media_type,
        "text": content.decode("utf-8-sig", errors="replace"),
    }
    return {"type": "resource", "resource": resource}


def text_block(text: str) -> Table:
    """Return a text as a block of a prompt."""
    return {"type": "text", "text": text}
