"""Which attachments a model can use, and in what form it gets them."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Literal, TypeAlias

from actors import Code, Failure
from callboard.v1.chat_pb2 import Attachment
from callboard_service.store.histories import RecentTurns

Kind: TypeAlias = Literal["image", "text", "other"]

IMAGES: Final = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"})
"""The images that models take."""

MAX_ATTACHED: Final = 16 * 1024 * 1024
"""Maximum bytes of one message's attachments, which travel as text in JSON."""

_TEXTS: Final = frozenset(
    {
        "application/ecmascript", "application/graphql", "application/javascript",
        "application/json", "application/jsonl", "application/ndjson",
        "application/sql", "application/toml", "application/typescript", "application/x-httpd-php",
        "application/x-javascript", "application/x-ndjson", "application/x-perl",
        "application/x-python", "application/x-ruby", "application/x-sh", "application/x-tex",
        "application/x-toml", "application/x-yaml", "application/xml", "application/xml-dtd",
        "application/yaml",
    }
)  # fmt: skip
_TEXT_SUFFIXES: Final = ("+json", "+xml", "+yaml")


def plain_type(attachment: Attachment) -> str:
    """Return the media type in lower case, without parameters."""
    return attachment.media_type.partition(";")[0].strip().lower()


def kind_of(attachment: Attachment) -> Kind:
    """Return whether an attachment is an image that models take, or a text."""
    media_type = plain_type(attachment)
    if media_type in IMAGES:
        return "image"
    if media_type.startswith("text/") or media_type in _TEXTS:
        return "text"
    return "text" if media_type.endswith(_TEXT_SUFFIXES) else "other"


def unusable(attachment: Attachment, instead: str) -> Failure:
    """Return the Failure of a message with this attachment. instead: what the model takes."""
    name, media_type = attachment.name, attachment.media_type
    message = f"the model cannot use {name!r} ({media_type}): it takes {instead}"
    return Failure(Code.INVALID_ARGUMENT, message)


def check(
    attachments: Sequence[Attachment],
    usable: Callable[[Attachment], bool],
    takes: str,
    at_most: int,
) -> None:
    """Raise Failure, INVALID_ARGUMENT, if one is not usable, or if they have too many bytes.

    takes: what the model takes. at_most: bytes.
    """
    for attachment in attachments:
        if not usable(attachment):
            raise unusable(attachment, takes)
    size = sum(attachment.size for attachment in attachments)
    if size > at_most:
        message = f"the attachments have {size} bytes; the model gets at most {at_most}"
        raise Failure(Code.INVALID_ARGUMENT, message)


async def content_of(
    attachment: Attachment, read: Callable[[str], Awaitable[bytes]]
) -> bytes | None:
    """Return the content of an attachment; None if the file is lost.

    Raises the Failure of `read`, but NOT_FOUND.
    """
    try:
        return await read(attachment.id)
    except Failure as failure:
        if failure.code is not Code.NOT_FOUND:
            raise
        return None


async def with_texts(
    turns: RecentTurns, read: Callable[[str], Awaitable[bytes]]
) -> list[tuple[str, str]]:
    """Return the turns with the text files that are attached to them before their texts.

    read: returns the content of an attachment. Raises its Failure, but NOT_FOUND: then the model is
    told that the file is missing.
    """
    made: list[tuple[str, str]] = []
    for (role, text), attached in zip(turns, turns.attached, strict=True):
        parts = [await read_text(attachment, read) for attachment in attached]
        made.append((role, "\n\n".join((*parts, text) if text or not parts else parts)))
    return made


async def read_text(attachment: Attachment, read: Callable[[str], Awaitable[bytes]]) -> str:
    """Return a text file as the model gets it; see `with_texts`."""
    content = await content_of(attachment, read)
    return missing(attachment) if content is None else _text_part(attachment, content)


def missing(attachment: Attachment) -> str:
    """Return what the model gets in place of a file that is lost."""
    return f"[File: {attachment.name}, which is missing]"


def _text_part(attachment: Attachment, content: bytes) -> str:
    """Return a text file as the model gets it: its name, and the text."""
    text = content.decode("utf-8-sig", errors="replace")
    return f"[File: {attachment.name}]\n{text}"
