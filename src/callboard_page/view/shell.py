"""The chat as a whole: list, thread, messages at the edge, and what screen readers are told."""

from callboard_page.chat import Chat
from callboard_page.connection import Connection
from callboard_page.nodes import Child, Element, Node, h
from callboard_page.notes import Note, Notes
from callboard_page.thread import Thread
from callboard_page.view.composer import composer_view
from callboard_page.view.parts import button
from callboard_page.view.sidebar import sidebar
from callboard_page.view.turns import TurnViews

SCROLLER = "thread"
"""The id of the element that scrolls the thread."""


class ChatView:
    """The view of a chat. It keeps the views of the open thread's turns."""

    def __init__(self, chat: Chat, connection: Connection, notes: Notes) -> None:
        self._chat = chat
        self._connection = connection
        self._notes = notes
        self._thread: Thread | None = None
        self._turns = TurnViews(chat)

    def view(self) -> Element:
        """Return the whole page."""
        chat = self._chat
        if chat.thread is not self._thread:
            self._thread = chat.thread
            self._turns = TurnViews(chat)
        return h(
            "div",
            sidebar(chat),
            h(
                "main",
                self._head(),
                self._body(),
                composer_view(chat) if not self._gone else None,
                key="main",
            ),
            status_view(_status(chat)),
            notes_view(self._notes),
            class_="app show-list" if chat.narrow else "app",
        )

    @property
    def _gone(self) -> bool:
        return self._thread is not None and self._thread.gone

    def _head(self) -> Element:
        chat, thread = self._chat, self._chat.thread
        title = "New conversation"
        if thread is not None:
            info = chat.conversations.get(thread.id) or thread.state.info
            title = info.title or "Untitled"
        fork: Child = None
        if thread is not None and thread.can("fork"):
            conversation_id = thread.id
            fork = button("Fork", lambda: chat.fork(conversation_id), name="fork")
        return h(
            "header",
            button(
                "Conversations", chat.toggle_list, name="menu", class_="icon-button only-narrow"
            ),
            h("h2", title),
            connection_view(self._connection),
            fork,
        )

    def _body(self) -> Element:
        thread = self._chat.thread
        if thread is None:
            return h("div", _welcome(), class_="scroll", key="new")
        if thread.gone:
            gone = h("p", "This conversation has been deleted.", class_="empty")
            return h("div", gone, class_="scroll", key="gone")
        busy = thread.running is not None
        return h(
            "div",
            h("div", self._content(thread), class_="turns"),
            class_="scroll",
            id=SCROLLER,
            role="log",
            aria_live="off",
            aria_busy="true" if busy else "false",
            aria_label="Conversation",
            tabindex=0,
            key=thread.id,
        )

    def _content(self, thread: Thread) -> list[Node]:
        if not thread.loaded:
            return [h("p", "Loading …", class_="empty", key="empty")]
        nodes: list[Node] = []
        if thread.earlier:
            nodes.append(
                button(
                    "Loading …" if thread.loading else "Show earlier messages",
                    thread.load_earlier,
                    class_="quiet earlier",
                    disabled=thread.loading,
                    key="earlier",
                )
            )
        turns = thread.turns
        last = turns[-1] if turns else None
        retry = last if last is not None and thread.can_retry(last) else None
        nodes += self._turns.views(turns, retry=retry)
        return nodes or [h("p", "Nothing has been said yet.", class_="empty", key="empty")]


def _welcome() -> Element:
    return h(
        "div",
        h("p", "What would you like to do?", class_="hello"),
        h("p", "Write a message below. Enter sends it, Shift-Enter begins a new line."),
        class_="empty big",
    )


def _status(chat: Chat) -> str:
    """Return what a screen reader says of the open conversation."""
    thread = chat.thread
    if thread is None or not thread.loaded:
        return ""
    running = thread.running
    if running is None:
        return "Done" if any(turn.ended for turn in thread.turns[-1:]) else ""
    return "Needs your answer" if running.asks else "Generating"


def status_view(text: str) -> Element:
    """Return what is said politely."""
    return h("p", text, class_="hidden", role="status", id="status", key="status")


def connection_view(connection: Connection) -> Element:
    """Return the state of the connection."""
    return h(
        "span",
        h("span", class_="dot", aria_hidden="true"),
        h("span", connection.text, class_="label"),
        class_=f"connection {connection.kind}",
        id="connection",
        title=connection.detail,
    )


def notes_view(notes: Notes) -> Element:
    """Return the messages at the edge. Errors are announced at once."""
    return h("div", [_note(notes, one) for one in notes.shown], class_="notes", key="notes")


def _note(notes: Notes, note: Note) -> Element:
    return h(
        "div",
        h("span", note.text),
        button(note.action, lambda: notes.act(note), class_="quiet") if note.action else None,
        button("Dismiss", lambda: notes.dismiss(note), name="close"),
        class_="note error" if note.error else "note",
        role="alert" if note.error else "status",
        key=str(note.number),
    )


def fatal_view(title: str, text: str) -> Element:
    """Return the page of one that cannot connect."""
    return h(
        "main",
        h("h1", title),
        h("p", text),
        h("p", "In a terminal: ", h("code", "callboard open")),
        class_="fatal",
    )
