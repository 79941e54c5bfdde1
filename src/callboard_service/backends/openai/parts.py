"""The turns of a conversation, with their attachments, in the form of the API."""

from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from actors import Code
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
from callboard_service.backends.openai.refusals import Refused
from callboard_service.store.store import RecentTurns

Message: TypeAlias = Mapping[str, object]


def check(attachments: Sequence[Attachment]) -> None:
    """Raise Failure, INVALID_ARGUMENT, if a message cannot have these.

    Whether the model takes images is up to the server.
    """
    attached.check(
        attachments,
        lambda attachment: kind_of(attachment) != "other",
        "text and PNG, JPEG, WebP and GIF images",
        MAX_ATTACHED,
    )


async def messages_of(turns: RecentTurns, read: Callable[[str], Awaitable[bytes]]) -> list[Message]:
    """Return the turns as messages. read: returns the content of an attachment.

    Raises the Failure of `read`, but NOT_FOUND: then the model is told that the file is missing.
    """
    messages: list[Message] = []
    for (role, text), files in zip(turns, turns.attached, strict=True):
        if not files:
            messages.append({"role": role, "content": text})
            continue
        parts = [await _part(attachment, read) for attachment in files]
        if text:
            parts.append(_text(text))
        messages.append({"role": role, "content": _content(parts)})
    return messages


@contextmanager
def judging_images(messages: Sequence[Message]) -> Iterator[None]:
    """Give a refusal of the messages' images within the block the code INVALID_ARGUMENT.

    Some servers report it as a fault of theirs; but it would fail all later messages too.
    """
    try:
        yield
    except Refused as refused:
        if refused.about_images and any(isinstance(each["content"], list) for each in messages):
            message = f"the model does not take these images: {refused.message}"
            raise Refused(Code.INVALID_ARGUMENT, message) from refused
        raise


def _content(parts: Sequence[Message]) -> object:
    """Return the content of a message: one text if it has no images.

    Not every server and template knows lists of parts.
    """
    if all(part["type"] == "text" for part in parts):
        return "\n\n".join(str(part["text"]) for part in parts)
    return list(parts)


async def _part(attachment: Attachment, read: Callable[[str], Awaitable[bytes]]) -> Message:
    if kind_of(attachment) != "image":
        return _text(await read_text(attachment, read))
    content = await content_of(attachment, read)
    if content is None:
        return _text(missing(attachment))
    url = f"data:{plain_type(attachment)};base64,{b64encode(content).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def _text(text: str) -> Message:
    return {"type": "text", "text": text}
