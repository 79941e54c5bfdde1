"""The field for a message, its attachments, the queue above it, and what can be chosen."""

from functools import partial
from typing import Final

from callboard.v1.chat_pb2 import OptionList, SessionOption, UsageEvent
from callboard_page.chat import COMPOSER, Chat
from callboard_page.composer import Composer, Upload
from callboard_page.nodes import Child, Element, Event, Node, h
from callboard_page.view.parts import button, count_of, hidden, icon, keys, size_of
from transport.client.followed_turn import FollowedTurn

MOST_ROWS: Final = 12


def composer_view(chat: Chat) -> Element:
    """Return what is below the thread."""
    composer = chat.composer
    thread = chat.thread
    running = thread is not None and thread.running is not None
    return h(
        "div",
        _queue(chat) if thread is not None and thread.queue else None,
        h("p", composer.error, class_="ended error", role="alert") if composer.error else None,
        _editing(chat) if composer.editing is not None else None,
        h(
            "form",
            _uploads(composer) if composer.uploads else None,
            _field(chat, composer, running=running),
            h(
                "div",
                _attach(chat),
                _options(chat),
                _usage(thread.state.usage) if thread is not None else None,
                h("span", class_="space"),
                _buttons(chat, running=running),
                class_="row",
            ),
            class_="composer",
            on={"submit": lambda event: event.prevent(), **_files(composer)},
        ),
        class_="bottom",
    )


def _files(composer: Composer) -> dict[str, "partial[None]"]:
    def take(prevented: bool, event: Event) -> None:
        if event.files or prevented:
            event.prevent()
            composer.attach(event.files)

    return {
        "drop": partial(take, True),
        "dragover": partial(lambda event: event.prevent()),
        "paste": partial(take, False),
    }


def _field(chat: Chat, composer: Composer, *, running: bool) -> Element:
    rows = min(composer.text.count("\n") + 1 + len(composer.text) // 100, MOST_ROWS)
    return h(
        "textarea",
        id=COMPOSER,
        rows=max(rows, 2),
        placeholder="Write the next message …" if running else "Write a message …",
        aria_label="Message",
        value=composer.text,
        on={
            "input": lambda event: composer.write(event.value),
            "keydown": keys({"Enter": chat.send, "Escape": chat.escape}),
        },
    )


def _attach(chat: Chat) -> Child:
    if not chat.can_attach:
        return None

    def chosen(event: Event) -> None:
        chat.composer.attach(event.files)

    return h(
        "label",
        icon("attach"),
        hidden("Attach files"),
        h("input", type="file", multiple=True, class_="hidden", on={"change": chosen}),
        class_="icon-button",
        title="Attach files",
    )


def _uploads(composer: Composer) -> Element:
    return h("ul", [_upload(composer, one) for one in composer.uploads], class_="uploads")


def _upload(composer: Composer, upload: Upload) -> Element:
    state = upload.error or ("" if upload.ready else "uploading …")
    return h(
        "li",
        icon("file"),
        h("span", upload.name, class_="title"),
        h("span", state or size_of(upload.size), class_="error" if upload.error else "size"),
        button(f"Remove {upload.name}", lambda: composer.detach(upload), name="close"),
        key=str(id(upload)),
    )


def _editing(chat: Chat) -> Element:
    return h(
        "p",
        icon("fork"),
        "Sending this continues in a copy of the conversation.",
        button("Keep as it is", chat.escape, class_="quiet"),
        class_="editing",
    )


def _buttons(chat: Chat, *, running: bool) -> list[Node]:
    composer = chat.composer
    ready = composer.can_send
    nodes: list[Node] = []
    if running and composer.text.strip():
        if chat.thread is not None and chat.thread.can("steer"):
            steer = partial(chat.send, "steer")
            title = "Hand this to the running reply"
            nodes.append(
                button("Steer", steer, class_="quiet", disabled=not ready, title=title, key="steer")
            )
        interrupt = partial(chat.send, "interrupt")
        title = "Stop the running reply and send this"
        nodes.append(
            button(
                "Interrupt", interrupt, class_="quiet", disabled=not ready, title=title, key="now"
            )
        )
    if running:
        nodes.append(
            button("Stop the reply", chat.stop, name="stop", class_="icon-button stop", key="stop")
        )
    label = "Put into the queue" if running else "Send"
    send = button(
        label, chat.send, name="send", class_="icon-button primary", disabled=not ready, key="send"
    )
    return [*nodes, send]


# -- what can be chosen ----------------------------------------------------------------------


def _options(chat: Chat) -> list[Node]:
    options = chat.thread.options if chat.thread is not None else _chosen(chat)
    return [_option(chat, option) for option in options.options if len(option.choices) > 1]


def _chosen(chat: Chat) -> OptionList:
    """Return the options of a new conversation, with what has been chosen for it."""
    options = OptionList()
    options.CopyFrom(chat.new_options)
    for option in options.options:
        option.current = chat.new_choices.get(option.id, option.current)
    return options


def _option(chat: Chat, option: SessionOption) -> Element:
    known = [choice.value for choice in option.choices]
    return h(
        "label",
        hidden(option.name or option.id),
        h(
            "select",
            None if option.current in known else h("option", option.current or "default", value=""),
            [
                h("option", choice.name or choice.value, value=choice.value, key=choice.value)
                for choice in option.choices
            ],
            value=option.current if option.current in known else "",
            title=option.name or option.id,
            on={"change": lambda event: chat.choose(option.id, event.value)},
        ),
        class_="option",
        key=option.id,
    )


def _usage(usage: UsageEvent) -> Child:
    texts = []
    if usage.context_used:
        used = count_of(usage.context_used)
        of = f" of {count_of(usage.context_size)}" if usage.context_size else ""
        texts.append(f"{used}{of} tokens")
    if usage.cost:
        texts.append(f"{usage.cost:.2f} {usage.currency or 'USD'}")
    return h("span", " · ".join(texts), class_="usage", title="Context and cost") if texts else None


# -- the queue -------------------------------------------------------------------------------


def _queue(chat: Chat) -> Element:
    assert chat.thread is not None
    queue = chat.thread.queue
    return h(
        "section",
        h("h2", f"Next: {len(queue)} waiting"),
        h("ol", [_queued(chat, turn, place, len(queue)) for place, turn in enumerate(queue, 1)]),
        class_="queue",
        aria_label="Messages that wait",
    )


def _queued(chat: Chat, turn: FollowedTurn, place: int, of: int) -> Element:
    if turn.info.id in chat.queue_edits:
        return h("li", _edit_queued(chat, turn), key=turn.info.id)
    return h(
        "li",
        h("span", turn.text or "attachments", class_="title"),
        button("Earlier", lambda: chat.move_queued(turn, place - 1), name="up", disabled=place < 2),
        button(
            "Later", lambda: chat.move_queued(turn, place + 1), name="down", disabled=place >= of
        ),
        button("Edit", lambda: chat.edit_queued(turn), name="edit"),
        button("Remove", lambda: chat.remove_queued(turn), name="close"),
        key=turn.info.id,
    )


def _edit_queued(chat: Chat, turn: FollowedTurn) -> list[Node]:
    def save() -> None:
        chat.save_queued(turn, keep=True)

    def leave() -> None:
        chat.save_queued(turn, keep=False)

    return [
        h(
            "textarea",
            id=f"queued-{turn.info.id}",
            rows=2,
            aria_label="Message that waits",
            value=chat.queue_edits[turn.info.id],
            on={
                "input": lambda event: chat.write_queued(turn, event.value),
                "keydown": keys({"Enter": save, "Escape": leave}),
            },
        ),
        button("Save", save, class_="primary"),
        button("Cancel", leave, class_="quiet"),
    ]
