"""The chat: the list, the conversation that is open, and what a person does with them."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final
from uuid import uuid4

from actors.runtime.clock import Clock
from callboard.v1.chat_pb2 import (
    AnswerAskRequest,
    AnswerRequest,
    AskClosed,
    AskEvent,
    Attachment,
    Delivery,
    GetAttachmentRequest,
    ListOptionsRequest,
    OptionList,
    SendMessageRequest,
    SetOptionRequest,
    StopTurnRequest,
    TurnInfo,
    UpdateTurnRequest,
    UploadChunk,
)
from callboard_page.composer import UPLOADS_AT_ONCE, Composer, SentFile, upload_file
from callboard_page.conversations import Conversations
from callboard_page.notes import Notes
from callboard_page.tasks import Tasks
from callboard_page.thread import Thread
from callboard_page.window import Window
from transport.client import Client
from transport.client.followed_turn import FollowedTurn

COMPOSER: Final = "message"
"""The id of the field for a message."""

MAX_PICTURE: Final = 8 * 1024 * 1024
"""Bytes of a picture that is shown in the thread; a larger one can be saved."""


class Chat:
    """The chat's state, and one method for each thing that a person can do.

    narrow: on a narrow window, whether the list is shown over the thread. renaming: the
    conversation whose title is being edited. menu: the one whose menu is open.
    """

    def __init__(
        self,
        client: Client,
        window: Window,
        tasks: Tasks,
        notes: Notes,
        clock: Clock,
        changed: Callable[[], None],
    ) -> None:
        self.client: Client = client
        self.window: Window = window
        self.conversations: Conversations = Conversations(client, notes, tasks, clock, changed)
        self.thread: Thread | None = None
        self.narrow: bool = False
        self.renaming: str = ""
        self.menu: str = ""
        self.answering: set[str] = set()
        """Asks whose answer is on its way."""
        self.answers: dict[str, list[str]] = {}
        """What is chosen or written for open asks, before it is sent."""
        self.queue_edits: dict[str, str] = {}
        """Texts of queued messages that are being edited, by turn."""
        self.pictures: dict[str, str] = {}
        """URLs of pictures by the attachment's id; empty while one is loading."""
        self.new_options: OptionList = OptionList()
        """What a new conversation would have."""
        self.new_choices: dict[str, str] = {}
        """What has been chosen for it."""
        self.toggled: set[str] = set()
        """Parts that a person has opened, or closed if they are open at first."""
        self._composers: dict[str, Composer] = {}
        self._uploading = asyncio.Semaphore(UPLOADS_AT_ONCE)
        self._tasks = tasks
        self._notes = notes
        self._changed = changed

    @property
    def can_attach(self) -> bool:
        """Whether a message may have attachments."""
        if self.thread is not None:
            return self.thread.can("uploads")
        return "uploads" in self.client.welcome.features

    def start(self, conversation_id: str) -> None:
        """Watch the list, and open a conversation if one is named."""
        self.conversations.watch()
        if conversation_id:
            self.open(conversation_id)
        self._tasks.start(self._load_options())

    async def _load_options(self) -> None:
        await self.client.ready()
        if "options" in self.client.welcome.features:
            request = ListOptionsRequest()
            self.new_options = await self.client.call(request, OptionList)
            self._changed()

    # -- conversations -----------------------------------------------------------------------

    @property
    def composer(self) -> Composer:
        """The message that is being written where the page is now."""
        key = self.thread.id if self.thread is not None else ""
        composer = self._composers.get(key)
        if composer is None:
            composer = Composer(self.client, self._tasks, self, self._uploading, self._changed)
            self._composers[key] = composer
        return composer

    def open(self, conversation_id: str) -> Thread:
        """Show a conversation, and return its thread."""
        self.menu = ""
        self.narrow = False
        if self.thread is None or self.thread.id != conversation_id:
            self.leave()
            self.thread = Thread(self.client, conversation_id, self._tasks, self._changed)
            self.thread.open()
        self.window.show_address(conversation_id)
        self.window.focus(COMPOSER)
        self._changed()
        return self.thread

    def leave(self) -> None:
        """Show no conversation: the next message begins one."""
        if self.thread is not None:
            self.thread.close()
        self.thread = None

    def begin(self) -> None:
        """Show an empty thread, whose first message creates a conversation."""
        self.leave()
        self.menu = ""
        self.narrow = False
        self.window.show_address("")
        self.window.focus(COMPOSER)
        self._changed()

    def toggle_list(self) -> None:
        """Show the list on a narrow window, or the thread again."""
        self.narrow = not self.narrow
        self._changed()

    def toggle_menu(self, conversation_id: str) -> None:
        """Open or close the menu of a conversation."""
        self.menu = "" if self.menu == conversation_id else conversation_id
        self._changed()

    def rename(self, conversation_id: str) -> None:
        """Begin to edit a title."""
        self.menu = ""
        self.renaming = conversation_id
        self.window.focus("rename")
        self._changed()

    def renamed(self, title: str) -> None:
        """End editing a title; an empty one changes nothing."""
        conversation_id, self.renaming = self.renaming, ""
        if conversation_id and title.strip():
            self._tasks.start(self.conversations.rename(conversation_id, title))
        self._changed()

    def archive(self, conversation_id: str, *, archived: bool) -> None:
        """Archive a conversation, or take it back."""
        self.menu = ""
        self._tasks.start(self.conversations.archive(conversation_id, archived=archived))
        self._changed()

    def delete(self, conversation_id: str) -> None:
        """Delete a conversation, with ten seconds to undo that."""
        self.menu = ""
        if self.thread is not None and self.thread.id == conversation_id:
            self.begin()
        self._tasks.start(self.conversations.delete(conversation_id))

    def fork(self, conversation_id: str) -> None:
        """Copy a conversation and open the copy."""
        self.menu = ""
        self._tasks.start(self._fork(conversation_id))
        self._changed()

    async def _fork(self, conversation_id: str) -> None:
        copy = await self.conversations.fork(conversation_id)
        self.open(copy.id)

    # -- messages ----------------------------------------------------------------------------

    async def conversation_id(self) -> str:
        """Return where the message goes; create or fork a conversation for it if needed."""
        composer = self.composer
        if self.thread is None:
            made = await self.conversations.create()
            for option_id, value in self.new_choices.items():
                request = SetOptionRequest(session_id=made.id, option_id=option_id, value=value)
                await self.client.call(request, OptionList)
            self.new_choices = {}
        elif composer.editing is not None:
            before = await self.thread.entry_of(composer.editing)
            made = await self.conversations.fork(self.thread.id, before)
            composer.editing = None
        else:
            return self.thread.id
        self._composers = {key: one for key, one in self._composers.items() if one is not composer}
        self._composers[made.id] = composer
        thread = self.open(made.id)
        # What is not kept in the history, such as a plan, is seen only by followers.
        await thread.followed()
        return made.id

    def send(self, delivery: str = "queue") -> None:
        """Send the message that is written. delivery: "queue", "steer" or "interrupt"."""
        running = self.thread.running if self.thread is not None else None
        target = running.info.id if running is not None and delivery != "queue" else ""
        self.composer.send(delivery if target else "queue", target)

    def stop(self) -> None:
        """Stop the running turn; the queue goes on."""
        if self.thread is not None and self.thread.running is not None:
            self._tasks.start(self._stop(self.thread.id, self.thread.running.info.id))

    async def _stop(self, conversation_id: str, turn_id: str) -> None:
        request = StopTurnRequest(session_id=conversation_id, turn_id=turn_id)
        await self.client.call(request, TurnInfo)

    def escape(self) -> None:
        """Leave what is being edited, or stop the running turn."""
        if self.composer.editing is not None:
            self.composer.clear()
        else:
            self.stop()

    def edit(self, turn: FollowedTurn) -> None:
        """Edit a message that was sent: sending it again forks the conversation before it."""
        composer = self.composer
        composer.clear()
        composer.write(turn.text)
        if self.thread is not None:
            composer.attach(self._files(self.thread.id, turn))
        composer.editing = turn
        self.window.focus(COMPOSER)
        self._changed()

    def retry(self, turn: FollowedTurn) -> None:
        """Send the message of a turn that did not complete again, in its place."""
        if self.thread is not None:
            self._tasks.start(self._retry(self.thread, turn))

    async def _retry(self, thread: Thread, turn: FollowedTurn) -> None:
        attachments = [
            await upload_file(self.client, self._uploading, file.name, file.media_type, file)
            for file in self._files(thread.id, turn)
        ]
        request = SendMessageRequest(
            session_id=thread.id,
            text=turn.text,
            message_id=str(uuid4()),
            admit_only=True,
            replaces=turn.info.id,
            delivery=Delivery.DELIVERY_QUEUE,
            attachments=attachments,
        )
        await self.client.call(request, TurnInfo)
        thread.forget(turn)

    def _files(self, conversation_id: str, turn: FollowedTurn) -> list[SentFile]:
        """Return the attachments of a message: with another message they are uploaded again."""
        return [
            SentFile(
                one.name, one.media_type, one.size, partial(self._content, conversation_id, one)
            )
            for one in turn.attachments
        ]

    # -- the queue ---------------------------------------------------------------------------

    def edit_queued(self, turn: FollowedTurn) -> None:
        """Begin to edit a message that waits."""
        self.queue_edits[turn.info.id] = turn.text
        self.window.focus(f"queued-{turn.info.id}")
        self._changed()

    def write_queued(self, turn: FollowedTurn, text: str) -> None:
        """Take what a person has typed into a message that waits."""
        self.queue_edits[turn.info.id] = text

    def save_queued(self, turn: FollowedTurn, *, keep: bool) -> None:
        """End editing a message that waits. keep: what was typed counts."""
        text = self.queue_edits.pop(turn.info.id, "")
        if keep and text.strip() and text != turn.text:
            self._update(turn, text=text)
        self._changed()

    def move_queued(self, turn: FollowedTurn, place: int) -> None:
        """Give a message that waits another place; 1 is next."""
        self._update(turn, place=place)

    def _update(
        self, turn: FollowedTurn, text: str | None = None, place: int | None = None
    ) -> None:
        if self.thread is not None:
            request = UpdateTurnRequest(
                session_id=self.thread.id, turn_id=turn.info.id, text=text, place=place
            )
            self._tasks.start(self._call(request))

    async def _call(self, request: UpdateTurnRequest) -> None:
        await self.client.call(request, TurnInfo)

    def remove_queued(self, turn: FollowedTurn) -> None:
        """Take a message out of the queue."""
        if self.thread is not None:
            self._tasks.start(self._stop(self.thread.id, turn.info.id))

    # -- questions ---------------------------------------------------------------------------

    def write_answer(self, ask: AskEvent, answers: list[str]) -> None:
        """Take what is chosen or typed for an ask, before it is sent."""
        self.answers[ask.ask_id] = answers
        self._changed()

    def answer(self, ask: AskEvent, answers: list[str]) -> None:
        """Answer an ask; no answers decline it."""
        if self.thread is not None and ask.ask_id not in self.answering:
            self.answering.add(ask.ask_id)
            self._tasks.start(self._answer(self.thread.id, ask.ask_id, answers))
            self._changed()

    async def _answer(self, conversation_id: str, ask_id: str, answers: list[str]) -> None:
        request = AnswerAskRequest(
            session_id=conversation_id, answer=AnswerRequest(ask_id=ask_id, answers=answers)
        )
        try:
            await self.client.call(request, AskClosed)
            self.answers.pop(ask_id, None)
        finally:
            self.answering.discard(ask_id)
            self._changed()

    # -- options and attachments -------------------------------------------------------------

    def choose(self, option_id: str, value: str) -> None:
        """Choose another model, mode, ..."""
        if self.thread is not None:
            self._tasks.start(self.thread.choose(option_id, value))
        else:
            self.new_choices[option_id] = value
            self._changed()

    def toggle(self, part: str) -> None:
        """Open or close a part of the thread."""
        self.toggled ^= {part}
        self._changed()

    def save(self, attachment: Attachment) -> None:
        """Save an attachment as a file."""
        if self.thread is not None:
            self._tasks.start(self._save(self.thread.id, attachment))

    async def _save(self, conversation_id: str, attachment: Attachment) -> None:
        content = await self._content(conversation_id, attachment)
        self.window.save(attachment.name, attachment.media_type, content)

    async def _content(self, conversation_id: str, attachment: Attachment) -> bytes:
        request = GetAttachmentRequest(session_id=conversation_id, attachment_id=attachment.id)
        async with self.client.stream(request, UploadChunk) as chunks:
            return b"".join([chunk.data async for chunk in chunks])

    def picture(self, attachment: Attachment) -> str:
        """Return the URL of a picture, and load it if it has not been; empty until then."""
        if attachment.id not in self.pictures and self.thread is not None:
            self.pictures[attachment.id] = ""
            if attachment.size <= MAX_PICTURE:
                self._tasks.start(self._load_picture(self.thread.id, attachment))
        return self.pictures.get(attachment.id, "")

    async def _load_picture(self, conversation_id: str, attachment: Attachment) -> None:
        content = await self._content(conversation_id, attachment)
        self.pictures[attachment.id] = self.window.picture(attachment.media_type, content)
        self._changed()
