"""Starts the page: finds the token, connects, and draws what there is."""

import asyncio
from math import inf
from typing import Final

from js import document

from actors.runtime.clock import LoopClock
from callboard_page.board.watching import Board
from callboard_page.browser.document import BrowserDocument, Events, Frames
from callboard_page.browser.websocket import BrowserWebSockets
from callboard_page.browser.window import BrowserWindow, forget_token, service
from callboard_page.chat import Chat
from callboard_page.connection import Connection
from callboard_page.nodes import Element
from callboard_page.notes import Notes
from callboard_page.patch import Patcher
from callboard_page.tasks import Tasks
from callboard_page.view.board import board_view
from callboard_page.view.shell import SCROLLER, ChatView, fatal_view
from transport.client import Client, by_url
from transport.client.calls import ClientSettings
from transport.codes import CloseCode
from transport.errors import ConnectionClosed

SETTINGS: Final = ClientSettings(
    name="callboard page", give_up=inf, busy_wait=inf, features=("follow",)
)

NEAR_END: Final = 48
"""Pixels above the end of the thread within which it stays at its end as it grows."""


class Shown:
    """A page in the window, which is drawn at most once a frame."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.clock = LoopClock()
        self.connection = Connection(client)
        self.frames = Frames(self._draw)
        self.notes = Notes(self.clock, self.frames.ask)
        self.tasks = Tasks(self.notes.fail)
        self._patcher = Patcher(BrowserDocument(), document.getElementById("page"))
        Events(self._patcher).listen()
        client.phase_changed = self.frames.ask

    def view(self) -> Element:
        """Return what is to be shown."""
        raise NotImplementedError

    def _draw(self) -> None:
        if self.connection.over and self.connection.reason:
            self._patcher.show(fatal_view("Not connected", self.connection.reason))
        else:
            self.show()

    def show(self) -> None:
        """Bring the document to the view."""
        self._patcher.show(self.view())


class BoardPage(Shown):
    """The board."""

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self._board = Board(client, self.tasks, self.frames.ask)

    def start(self, conversation_id: str) -> None:
        """Begin to watch."""
        del conversation_id  # the board shows all of them
        self._board.start()
        self.frames.ask()

    def view(self) -> Element:
        """Return the board's view."""
        return board_view(self._board, self.connection, self.notes)


class ChatPage(Shown):
    """The chat. It keeps the end of the thread in sight as it grows."""

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self.window = BrowserWindow()
        self.chat = Chat(client, self.window, self.tasks, self.notes, self.clock, self.frames.ask)
        self._view = ChatView(self.chat, self.connection, self.notes)
        self._shown = ""

    def start(self, conversation_id: str) -> None:
        """Show the list, and open a conversation if one is named."""
        self.chat.start(conversation_id)
        self.frames.ask()

    def view(self) -> Element:
        """Return the chat's view."""
        return self._view.view()

    def show(self) -> None:
        """Bring the document to the view, and scroll."""
        scroller = document.getElementById(SCROLLER)
        from_end = _from_end(scroller) if scroller else 0.0
        at_top = bool(scroller) and scroller.scrollTop < 1
        height = scroller.scrollHeight if scroller else 0
        super().show()
        scroller = document.getElementById(SCROLLER)
        thread = self.chat.thread
        if scroller and thread is not None and thread.loaded:
            if thread.id != self._shown:
                self._shown = thread.id
                scroller.scrollTop = scroller.scrollHeight
            elif from_end < NEAR_END:
                scroller.scrollTop = scroller.scrollHeight
            elif at_top and scroller.scrollHeight > height:
                scroller.scrollTop = scroller.scrollHeight - height  # earlier turns came above
        elif thread is None:
            self._shown = ""
        self.window.drawn()


def _from_end(scroller: object) -> float:
    place: float = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight  # type: ignore[attr-defined] # an element of the document
    return place


async def run(path: str, token: str, conversation_id: str) -> None:
    """Run the page at this path until it is closed.

    token: empty if the page was opened without one. conversation_id: the conversation to open.
    """
    document.getElementById("page").replaceChildren()
    if not token:
        _fatal("Open the page with its token", "This page needs the token of the service.")
        return
    client = Client(by_url(service(), token), SETTINGS, dialer=BrowserWebSockets())
    try:
        async with client:
            page = BoardPage(client) if path == "/board" else ChatPage(client)
            page.start(conversation_id)
            await asyncio.sleep(0.1)
            _get_ready_for_texts()
            await asyncio.Event().wait()
    except ConnectionClosed as closed:
        if closed.code == CloseCode.BAD_TOKEN:
            forget_token()
            _fatal(
                "The token is not valid",
                "The service does not accept this page's token. It has a new one after a restart.",
            )
        else:
            _fatal("Not connected", str(closed))


def _get_ready_for_texts() -> None:
    """Load what shows texts, once the page is there and before the first text is."""
    from callboard_page.text.markdown import Markdown

    Markdown(lambda _: None).nodes("*text*", final=True)


def _fatal(title: str, text: str) -> None:
    Patcher(BrowserDocument(), document.getElementById("page")).show(fatal_view(title, text))
