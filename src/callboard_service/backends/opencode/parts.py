"""The attachments of a message in the form of OpenCode's API."""

from base64 import b64encode
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from callboard.v1.chat_pb2 import Attachment
from callboard_service.backends import attached
from callboard_service.backends.attached import (
    MAX_ATTACHED,
    content_of,
    kind_of,
    missing,
    plain_type,
)

_PDF: Final = "application/pdf"


def check(attachments: Sequence[Attachment]) -> None:
    """Raise Failure, INVALID_ARGUMENT, if a message cannot have these.

    Whether the model takes images and PDF is up to its provider; OpenCode tells the model if not.
    """
    takes = "text, PDF, and PNG, JPEG, WebP and GIF images"
    attached.check(attachments, _is_usable, takes, MAX_ATTACHED)


def _is_usable(attachment: Attachment) -> bool:
    return kind_of(attachment) != "other" or plain_type(attachment) == _PDF


async def parts_of(
    attachments: Sequence[Attachment], read: Callable[[str], Awaitable[bytes]]
) -> list[dict[str, object]]:
    """Return the attachments as parts of a message. read: returns the content of one.

    Raises the Failure of `read`, but NOT_FOUND: then the model is told that the file is missing.
    """
    parts: list[dict[str, object]] = []
    for attachment in attachments:
        content = await content_of(attachment, read)
        if content is None:
            parts.append({"type": "text", "text": missing(attachment)})
            continue
        # OpenCode shows the model the content of a file only if this is its type.
        mime = "text/plain" if kind_of(attachment) == "text" else plain_type(attachment)
        url = f"data:{mime};base64,{b64encode(content).decode()}"
        parts.append({"type": "file", "mime": mime, "filename": attachment.name, "url": url})
    return parts
