"""The page without a browser: its controllers and views, on the real chat with the echo backend."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from actors import ActorSystem, Registry
from actors.testing import ManualClock
from callboard.v1.chat_pb2 import (
    GetHistoryRequest,
    History,
    SendMessageRequest,
    TurnInfo,
)
from callboard.v1.envelope_pb2 import ServerMessage
from callboard_page.chat import Chat
from callboard_page.connection import Connection
from callboard_page.nodes import Element, Event, find, text_of
from callboard_page.notes import Notes
from callboard_page.patch import Patcher
from callboard_page.tasks import Tasks
from callboard_page.view.shell import ChatView
from callboard_service.testing import register_chat
from tests.support.fake_document import FakeDocument, expected, read
from transport.client import Client
from transport.client.calls import ClientSettings
from transport.client.followed_turn import FollowedTurn
from transport.testing import MemoryService
from transport.wire.framing import payload_of

FEATURES = ("follow", "commands", "fork", "images", "options", "search", "steer", "uploads")

SETTINGS = ClientSettings(
    name="page", features=("follow",), backoff_initial=0.001, backoff_maximum=0.01
)

PATIENCE = 40.0
"""Real seconds after which a test gives up. One that passes does not wait so long."""


class ChatService(MemoryService):
    """The service in memory; its welcome says what the chat can do."""

    def welcome(self, joined: Any) -> bytes:
        """Return the first frame, with the features of the echo backend."""
        first = ServerMessage.FromString(payload_of(super().welcome(joined)))
        first.welcome.features.extend(FEATURES)
        first.welcome.backend = "echo"
        return self.wire.welcome(first.welcome)


class FakeWindow:
    """A fake window, which records what the page has asked of it."""

    def __init__(self) -> None:
        self.copied: list[str] = []
        self.focused: list[str] = []
        self.address = ""
        self.saved: list[tuple[str, str, bytes]] = []
        self.title = ""

    def copy(self, text: str) -> None:
        self.copied.append(text)

    def focus(self, element_id: str) -> None:
        self.focused.append(element_id)

    def show_address(self, conversation_id: str) -> None:
        self.address = conversation_id

    def save(self, name: str, media_type: str, content: bytes) -> None:
        self.saved.append((name, media_type, content))

    def picture(self, media_type: str, content: bytes) -> str:
        return f"blob:{media_type}:{len(content)}"


class FakeFile:
    """A fake of a file that a person has chosen. hold: until `release` it cannot be read."""

    def __init__(
        self, name: str = "a.txt", content: bytes = b"content", media_type: str = "text/plain",
        *, hold: bool = False, error: Exception | None = None,
    ) -> None:  # fmt: skip
        self.name = name
        self.media_type = media_type
        self.size = len(content)
        self.released = asyncio.Event()
        self._content = content
        self._error = error
        if not hold:
            self.released.set()

    def release(self) -> None:
        """Let it be read."""
        self.released.set()

    async def read(self) -> bytes:
        await self.released.wait()
        if self._error is not None:
            raise self._error
        return self._content


class Page:
    """A page that a test uses as a person does. clock: of undoing and of the notes."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.clock = ManualClock()
        self.window = FakeWindow()
        self.notes = Notes(self.clock, self._change)
        self.tasks = Tasks(self.notes.fail)
        self.chat = Chat(client, self.window, self.tasks, self.notes, self.clock, self._change)
        self.view = ChatView(self.chat, Connection(client), self.notes)
        self.document = FakeDocument()
        self._patcher = Patcher(self.document, self.document.root)
        self._changed = asyncio.Event()
        client.phase_changed = self._change

    def _change(self) -> None:
        self._changed.set()

    async def until(self, condition: Callable[[], Any]) -> Any:
        """Wait until a condition holds, which is checked after each change; return its value."""
        async with asyncio.timeout(PATIENCE):
            while not (value := condition()):
                self._changed.clear()
                await self._changed.wait()
        return value

    # -- what is seen ------------------------------------------------------------------------

    def draw(self) -> Element:
        """Draw the page; the document shows what is returned."""
        element = self.view.view()
        self._patcher.show(element)
        assert read(self.document.root.children[0]) == expected(element)
        return element

    def find(self, **attributes: str) -> list[Element]:
        """Return the elements that are shown and have these attributes."""
        return find(self.draw(), **attributes)

    def texts(self, **attributes: str) -> list[str]:
        """Return the texts of the elements with these attributes."""
        return list(map(text_of, self.find(**attributes)))

    def text(self, **attributes: str) -> str:
        """Return the text of the only element with these attributes."""
        (text,) = self.texts(**attributes)
        return text

    @property
    def thread_text(self) -> str:
        """What the open thread shows."""
        return self.text(id="thread")

    def titles(self) -> list[str]:
        """Return the titles in the list."""
        return [text_of(find(one, class_="title")[0]) for one in self.find(class_="pick")]

    # -- what is done ------------------------------------------------------------------------

    def buttons(self, label: str) -> list[Element]:
        """Return the buttons that are named so."""
        return [
            one
            for one in self.find(tag="button")
            if (one.attributes.get("aria-label") or text_of(one)) == label
        ]

    def click(self, label: str, place: int = 0) -> None:
        """Press a button that is named so, as a person does: not while it is disabled."""
        button = self.buttons(label)[place]
        assert "disabled" not in button.attributes
        button.handlers["click"](Event("click"))

    def field(self, name: str) -> Element:
        """Return the field with this id or label."""
        fields = [*self.find(tag="input"), *self.find(tag="textarea"), *self.find(tag="select")]
        names = ("id", "aria-label", "title")
        (found,) = [one for one in fields if name in map(one.attributes.get, names)]
        return found

    def type(self, text: str, field: str = "message", *, key: str = "") -> None:
        """Type into a field, then press a key."""
        self.field(field).handlers["input"](Event("input", value=text))
        if key:
            self.press(key, field)

    def press(
        self, key: str, field: str = "message", *, value: str = "", shift: bool = False
    ) -> None:
        """Press a key in a field. value: what it has."""
        self.field(field).handlers["keydown"](Event("keydown", value, key, shift))

    def change(self, field: str, value: str) -> None:
        """Choose a value in a field."""
        self.field(field).handlers["change"](Event("change", value))

    async def say(self, text: str) -> FollowedTurn:
        """Send a message and wait until its turn has ended; return it."""
        before = self._newest
        self.type(text, key="Enter")
        await self.until(lambda: self._newest not in (None, before) and self._newest.ended)
        turn = self._newest
        assert turn is not None
        return turn

    @property
    def _newest(self) -> FollowedTurn | None:
        thread = self.chat.thread
        return thread.turns[-1] if thread is not None and thread.turns else None

    async def tasks_started_are_done(self) -> None:
        """Wait until what was started has ended, except what never ends by itself."""
        endless = 1 + (self.chat.thread is not None and not self.chat.thread.gone)
        async with asyncio.timeout(PATIENCE):
            while len(self.tasks._running) > endless:
                done = asyncio.wait(self.tasks._running, return_when=asyncio.FIRST_COMPLETED)
                await done

    async def open(self, conversation_id: str) -> None:
        """Open a conversation and wait until it is shown."""
        await self.until(lambda: self.chat.conversations.get(conversation_id))
        self.chat.open(conversation_id)
        await self.loaded()

    async def loaded(self) -> None:
        """Wait until the open conversation is shown."""
        chat = self.chat
        await self.until(lambda: chat.thread and (chat.thread.loaded or chat.thread.gone))

    @property
    def open_id(self) -> str:
        """The conversation that is open."""
        assert self.chat.thread is not None
        return self.chat.thread.id

    async def history(self) -> History:
        """Return the newest page of the open conversation's history, from the service."""
        request = GetHistoryRequest(session_id=self.open_id, limit=100)
        return await self.client.call(request, History)

    async def send_behind(self, text: str, **fields: Any) -> TurnInfo:
        """Send a message to the open conversation past the page, as another client does."""
        request = SendMessageRequest(session_id=self.open_id, text=text, admit_only=True, **fields)
        return await self.client.call(request, TurnInfo)


class Pages:
    """A service and the pages on it."""

    def __init__(self, service: ChatService) -> None:
        self.service = service
        self._open: list[Page] = []

    async def open(self, conversation_id: str = "") -> Page:
        """Open a page in another window."""
        client = self.service.client(SETTINGS)
        await client.__aenter__()
        page = Page(client)
        self._open.append(page)
        page.chat.start(conversation_id)
        await page.until(lambda: page.chat.conversations.loaded)
        if conversation_id:
            await page.loaded()
        return page

    async def close(self, page: Page) -> None:
        """Close a window."""
        self._open.remove(page)
        page.tasks.stop()
        await page.tasks.settle()
        await page.client.aclose()

    async def close_all(self) -> None:
        """Close all windows."""
        for page in list(self._open):
            await self.close(page)


@asynccontextmanager
async def pages() -> AsyncIterator[Pages]:
    """Serve the chat on the event loop's clock, and yield its pages."""
    system = ActorSystem()
    registry = Registry()
    register_chat(registry)
    service = await ChatService.start(system, registry)
    assert isinstance(service, ChatService)
    made = Pages(service)
    try:
        yield made
    finally:
        await made.close_all()
        await service.stop()
        await system.stop()
