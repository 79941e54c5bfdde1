"""The message that is being written: its text, its attachments, and sending it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol
from uuid import uuid4

from callboard.v1.chat_pb2 import Attachment, Delivery, SendMessageRequest, TurnInfo
from callboard_page.nodes import Given
from callboard_page.notes import describe
from callboard_page.tasks import Tasks, Work
from transport.client import Client

if TYPE_CHECKING:
    from transport.client.followed_turn import FollowedTurn

MAX_ATTACHMENTS: Final = 16

UPLOADS_AT_ONCE: Final = 2
"""Less than the service allows a session, where one that was stopped counts for a moment more."""

DELIVERIES: Final = {
    "queue": Delivery.DELIVERY_QUEUE,
    "steer": Delivery.DELIVERY_STEER,
    "interrupt": Delivery.DELIVERY_INTERRUPT,
}


@dataclass(eq=False, slots=True)
class Upload:
    """An attachment of the message. upload_id: empty until the service has it."""

    name: str
    media_type: str
    size: int
    upload_id: str = ""
    error: str = ""
    work: Work | None = None

    @property
    def ready(self) -> bool:
        """Whether it can be sent."""
        return bool(self.upload_id)


@dataclass(frozen=True, slots=True)
class SentFile:
    """An attachment of a message that was sent, as a file to be sent again."""

    name: str
    media_type: str
    size: int
    read: Callable[[], Awaitable[bytes]]


async def upload_file(
    client: Client, at_once: asyncio.Semaphore, name: str, media_type: str, file: Given
) -> Attachment:
    """Upload a file and return it as an attachment of a message.

    at_once: limits the uploads of all messages. Raises as `Client.upload` does.
    """
    content = await file.read()
    async with at_once:
        done = await client.upload(name, media_type, content)
    return Attachment(name=name, media_type=media_type, upload_id=done.upload_id)


class Place(Protocol):
    """Where the message goes: the conversation that is open, or a new one."""

    async def conversation_id(self) -> str:
        """Return the conversation's id, creating the conversation first if there is none."""


@dataclass(eq=False, slots=True)
class Draft:
    """A message that has been sent and is not yet admitted."""

    text: str
    uploads: list[Upload]
    delivery: Delivery.ValueType
    target: str
    message_id: str


class Composer:
    """The message of one conversation.

    Sending clears the field at once, so that a person can go on writing. A message that was not
    admitted comes back into the field, and sending it again has the same message id.

    sending: the messages on their way, in order. editing: the turn from whose message this one was
    made, so that sending it forks the conversation there.
    """

    def __init__(
        self,
        client: Client,
        tasks: Tasks,
        place: Place,
        uploading: asyncio.Semaphore,
        changed: Callable[[], None],
    ) -> None:
        self.text: str = ""
        self.uploads: list[Upload] = []
        self.sending: list[Draft] = []
        self.error: str = ""
        self.editing: FollowedTurn | None = None
        self._client = client
        self._tasks = tasks
        self._place = place
        self._uploading = uploading
        self._changed = changed
        self._message_id = ""

    @property
    def can_send(self) -> bool:
        """Whether there is something to send, and all of it is ready."""
        filled = bool(self.text.strip() or self.uploads)
        return filled and all(upload.ready for upload in self.uploads)

    def write(self, text: str) -> None:
        """Take what a person has typed."""
        self.text = text
        self._message_id = ""  # another text is another message
        self.error = ""
        self._changed()

    # -- attachments -------------------------------------------------------------------------

    def attach(self, files: Iterable[Given]) -> None:
        """Upload files and attach them."""
        for file in files:
            if len(self.uploads) >= MAX_ATTACHMENTS:
                self.error = f"A message takes at most {MAX_ATTACHMENTS} attachments."
                break
            media_type = file.media_type or "application/octet-stream"
            upload = Upload(file.name or "pasted", media_type, file.size)
            self.uploads.append(upload)
            self._message_id = ""  # with another attachment it is another message
            upload.work = self._tasks.start(self._upload(upload, file))
        self._changed()

    async def _upload(self, upload: Upload, file: Given) -> None:
        try:
            sent = await upload_file(
                self._client, self._uploading, upload.name, upload.media_type, file
            )
            upload.upload_id = sent.upload_id
        except Exception as error:  # noqa: BLE001 - whatever it is, it is shown at the attachment
            upload.error = describe(error)
        self._changed()

    def detach(self, upload: Upload) -> None:
        """Take an attachment away."""
        if upload in self.uploads:
            self.uploads.remove(upload)
            self._message_id = ""
            if upload.work is not None:
                upload.work.cancel()
            self._changed()

    # -- sending -----------------------------------------------------------------------------

    def send(self, delivery: str = "queue", target: str = "") -> None:
        """Send the message. target: the turn that it steers or interrupts."""
        if not self.can_send:
            return
        draft = Draft(
            self.text.strip(),
            self.uploads,
            DELIVERIES[delivery],
            target,
            self._message_id or str(uuid4()),
        )
        self.sending.append(draft)
        self.text = self._message_id = self.error = ""
        self.uploads = []
        if len(self.sending) == 1:
            self._tasks.start(self._send_all())
        self._changed()

    async def _send_all(self) -> None:
        """Send what is to be sent, one message after the other, so that their order is kept."""
        while self.sending:
            try:
                await self._send(self.sending[0])
                self.sending.pop(0)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is shown at the message
                self._take_back(describe(error))
            self._changed()

    async def _send(self, draft: Draft) -> None:
        conversation_id = await self._place.conversation_id()
        request = SendMessageRequest(
            session_id=conversation_id,
            text=draft.text,
            message_id=draft.message_id,
            admit_only=True,
            delivery=draft.delivery,
            target_turn=draft.target,
            attachments=[
                Attachment(name=one.name, media_type=one.media_type, upload_id=one.upload_id)
                for one in draft.uploads
            ],
        )
        await self._client.call(request, TurnInfo)

    def _take_back(self, error: str) -> None:
        """Put what was not admitted back into the field, before what was written since."""
        drafts, self.sending = self.sending, []
        alone = len(drafts) == 1 and not self.text
        self._message_id = drafts[0].message_id if alone else ""
        self.text = "\n\n".join(filter(None, [*(one.text for one in drafts), self.text]))
        self.uploads = [*(upload for one in drafts for upload in one.uploads), *self.uploads]
        self.error = error

    def clear(self) -> None:
        """Begin another message."""
        self.text = self._message_id = self.error = ""
        for upload in list(self.uploads):
            self.detach(upload)
        self.editing = None
        self._changed()
