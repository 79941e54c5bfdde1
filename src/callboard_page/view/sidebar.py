"""The list of conversations."""

from callboard.v1.chat_pb2 import ConversationState, SessionInfo
from callboard_page.chat import Chat
from callboard_page.nodes import Element, Event, Node, h
from callboard_page.view.parts import button, hidden, icon, keys


def sidebar(chat: Chat) -> Element:
    """Return the list with its search and what can be done with each conversation."""
    return h(
        "nav",
        h(
            "div",
            h("h1", "Callboard"),
            h(
                "a",
                icon("board"),
                href="/board",
                class_="icon-button",
                aria_label="Board: what the service is doing",
                title="Board: what the service is doing",
            ),
            button("New conversation", chat.begin, name="plus", class_="icon-button primary"),
            class_="brand",
        ),
        _search(chat),
        _list(chat),
        _archived(chat),
        class_="sidebar",
        aria_label="Conversations",
    )


def _search(chat: Chat) -> Element:
    def typed(event: Event) -> None:
        chat.conversations.look_for(event.value)

    return h(
        "label",
        icon("search"),
        hidden("Search conversations"),
        h(
            "input",
            type="search",
            id="search",
            placeholder="Search",
            value=chat.conversations.search,
            autocomplete="off",
            on={
                "input": typed,
                "keydown": keys({"Escape": lambda: chat.conversations.look_for("")}),
            },
        ),
        class_="search",
    )


def _list(chat: Chat) -> Element:
    shown = chat.conversations.shown
    if shown:
        return h("ul", [_item(chat, info) for info in shown], class_="list")
    if not chat.conversations.loaded:
        text = "Loading …"
    elif chat.conversations.found is not None:
        text = "Nothing matches."
    else:
        text = "No conversations yet. Write a message to begin one."
    return h("p", text, class_="empty", key="empty")


def _item(chat: Chat, info: SessionInfo) -> Element:
    current = chat.thread is not None and chat.thread.id == info.id
    title = info.title or "Untitled"

    def opened(_: Event) -> None:
        chat.open(info.id)

    content: list[Node]
    if chat.renaming == info.id:
        content = [_renaming(chat, info)]
    else:
        content = [
            h(
                "button",
                _state(info),
                h("span", title, class_="title"),
                h("span", "archived", class_="tag") if info.archived else None,
                type="button",
                class_="pick",
                aria_current="page" if current else None,
                on={"click": opened},
            ),
            button(f"More about {title}", lambda: chat.toggle_menu(info.id), name="more"),
        ]
    if chat.menu == info.id:
        content.append(_menu(chat, info))
    return h("li", content, class_="current" if current else None, key=info.id)


def _state(info: SessionInfo) -> Element | None:
    match info.state:
        case ConversationState.CONVERSATION_STATE_RUNNING:
            return h("span", hidden("replying: "), class_="dot running", title="A reply is running")
        case ConversationState.CONVERSATION_STATE_WAITING:
            label = "It needs your answer"
            return h("span", hidden("needs your answer: "), class_="dot waiting", title=label)
        case _:
            return None


def _renaming(chat: Chat, info: SessionInfo) -> Element:
    def changed(event: Event) -> None:
        chat.renamed(event.value)

    def pressed(event: Event) -> None:
        if event.key == "Enter" and not event.composing:
            event.prevent()
            chat.renamed(event.value)
        elif event.key == "Escape":
            chat.renamed("")

    return h(
        "input",
        id="rename",
        class_="rename",
        aria_label="New title",
        maxlength=200,
        # Only an attribute, so that drawing again does not undo what is typed.
        placeholder=info.title or "Title",
        on={"change": changed, "keydown": pressed},
        key="rename",
    )


def _menu(chat: Chat, info: SessionInfo) -> Element:
    archived = info.archived
    label = "Take back from the archive" if archived else "Archive"
    return h(
        "div",
        button("Rename", lambda: chat.rename(info.id)),
        button("Fork", lambda: chat.fork(info.id)) if "fork" in info.features else None,
        button(label, lambda: chat.archive(info.id, archived=not archived)),
        button("Delete", lambda: chat.delete(info.id), class_="danger"),
        class_="menu",
        role="group",
        aria_label="Actions",
        on={"keydown": keys({"Escape": lambda: chat.toggle_menu(info.id)})},
        key="menu",
    )


def _archived(chat: Chat) -> Element:
    shown = chat.conversations.archived
    return h(
        "label",
        h(
            "input",
            type="checkbox",
            checked=shown,
            on={"change": lambda _: chat.conversations.show_archived(not shown)},
        ),
        "Show archived",
        class_="archived",
    )
