"""Starts the page: finds the token, connects, and draws what there is."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from math import inf
from typing import Final

from js import document
from pyodide.ffi import JsProxy

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

BOARD: Final = "/board"
"""The path of the board."""

NEAR_END: Final = 48
"""Pixels above the end of the thread within which it stays at its end as it grows."""


class Screen:
    """Draws one view in the window, at most once a frame.

    view: returns what is to be shown. around: entered for each drawing, such as to keep a place.
    """

    def __init__(self, client: Client) -> None:
        self.clock = LoopClock()
        self.connection = Connection(client)
        self.frames = Frames(self._draw)
        self.notes = Notes(self.clock, self.frames.ask)
        self.tasks = Tasks(self.notes.fail)
        self._patcher = Patcher(BrowserDocument(), document.getElementById("page"))
        Events(self._patcher).listen()
        client.phase_changed = self.frames.ask

    def show(
        self,
        view: Callable[[], Element],
        around: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Show this view from the next frame on."""
        self._view, self._around = view, around
        self.frames.ask()

    def _draw(self) -> None:
        if self.connection.over and self.connection.reason:
            self._patcher.show(fatal_view("Not connected", self.connection.reason))
            return
        with self._around():
            self._patcher.show(self._view())


def show_board(client: Client) -> None:
    """Show the board."""
    screen = Screen(client)
    board = Board(client, screen.tasks, screen.frames.ask)
    board.start()
    screen.show(lambda: board_view(board, screen.connection, screen.notes))


def show_chat(client: Client, conversation_id: str) -> None:
    """Show the chat, with this conversation open if one is named."""
    screen, window = Screen(client), BrowserWindow()
    chat = Chat(client, window, screen.tasks, screen.notes, screen.clock, screen.frames.ask)
    chat.start(conversation_id)
    screen.show(ChatView(chat, screen.connection, screen.notes).view, Place(chat, window).kept)


class Place:
    """The place in the thread that a person looks at, and the focus."""

    def __init__(self, chat: Chat, window: BrowserWindow) -> None:
        self._chat = chat
        self._window = window
        self._shown = ""

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep the end of the thread in sight, or what is in sight as earlier turns come above."""
        before = document.getElementById(SCROLLER)
        from_end = _from_end(before) if before else 0.0
        at_top = bool(before) and before.scrollTop < 1
        height = before.scrollHeight if before else 0
        yield
        scroller = document.getElementById(SCROLLER)
        thread = self._chat.thread
        if scroller and thread is not None and thread.loaded:
            if thread.id != self._shown or from_end < NEAR_END:
                self._shown = thread.id
                scroller.scrollTop = scroller.scrollHeight
            elif at_top and scroller.scrollHeight > height:
                scroller.scrollTop = scroller.scrollHeight - height
        elif thread is None:
            self._shown = ""
        self._window.drawn()


def _from_end(scroller: JsProxy) -> float:
    place: float = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight
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
            if path == BOARD:
                show_board(client)
            else:
                show_chat(client, conversation_id)
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
