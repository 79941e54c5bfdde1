"""Starts the page: finds the token, connects, and draws what there is."""

import asyncio
from math import inf
from typing import Final

from js import document

from actors.runtime.clock import LoopClock
from callboard_page.browser.document import BrowserDocument, Events, Frames
from callboard_page.browser.websocket import BrowserWebSockets
from callboard_page.browser.window import BrowserWindow, forget_token, service
from callboard_page.chat import Chat
from callboard_page.connection import Connection
from callboard_page.notes import Notes
from callboard_page.patch import Patcher
from callboard_page.tasks import Tasks
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


class ChatPage:
    """Draws the chat at most once a frame, and keeps the end of the thread in sight."""

    def __init__(self, client: Client) -> None:
        self.window = BrowserWindow()
        self._patcher = Patcher(BrowserDocument(), document.getElementById("page"))
        Events(self._patcher).listen()
        frames = Frames(self._draw)
        clock = LoopClock()
        notes = Notes(clock, frames.ask)
        tasks = Tasks(notes.fail)
        self.chat = Chat(client, self.window, tasks, notes, clock, frames.ask)
        self._connection = Connection(client)
        self._view = ChatView(self.chat, self._connection, notes)
        self._shown = ""
        client.phase_changed = frames.ask
        frames.ask()

    def _draw(self) -> None:
        scroller = document.getElementById(SCROLLER)
        from_end = _from_end(scroller) if scroller else 0.0
        at_top = bool(scroller) and scroller.scrollTop < 1
        height = scroller.scrollHeight if scroller else 0
        if self._connection.over and self._connection.reason:
            self._patcher.show(fatal_view("Not connected", self._connection.reason))
            return
        self._patcher.show(self._view.view())
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
    del path  # the board is not built yet
    document.getElementById("page").replaceChildren()
    if not token:
        _fatal("Open the page with its token", "This page needs the token of the service.")
        return
    client = Client(by_url(service(), token), SETTINGS, dialer=BrowserWebSockets())
    try:
        async with client:
            page = ChatPage(client)
            page.chat.start(conversation_id)
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
