"""Questions to a person: permissions and others, open and settled."""

from functools import partial

from callboard.v1.chat_pb2 import AskEvent, AskOption
from callboard_page.chat import Chat
from callboard_page.nodes import Element, Event, Node, h
from callboard_page.view.parts import button, keys
from transport.client.followed_turn import AskPart

_CLASSES = {
    AskOption.KIND_ALLOW_ONCE: "primary",
    AskOption.KIND_ALLOW_ALWAYS: "secondary",
    AskOption.KIND_REJECT_ONCE: "danger",
    AskOption.KIND_REJECT_ALWAYS: "danger",
}


def ask_view(chat: Chat, part: AskPart) -> Element:
    """Return a question with what can be answered, or how it was settled."""
    ask = part.ask
    permission = ask.kind == AskEvent.KIND_PERMISSION
    title = "" if ask.title.strip() == ask.detail.strip() else ask.title
    title = title or ("It asks for permission" if permission else "It asks")
    head = h("p", title, class_="q")
    detail = h("pre", ask.detail, class_="detail", tabindex=0) if ask.detail else None
    if part.closed is not None:
        # The tool call above shows what was asked about.
        shown = None if ask.call_id else detail
        return h("div", head, shown, h("p", _settled(part), class_="settled"), class_="ask closed")
    return h(
        "div",
        head,
        detail,
        _answers(chat, ask),
        class_="ask open",
        role="group",
        aria_label="Your answer is needed",
    )


def _settled(part: AskPart) -> str:
    assert part.closed is not None
    if not part.closed.answered:
        return "No longer needed."
    if not part.closed.answers:
        return "Declined."
    names = {choice.value: choice.name for choice in part.ask.choices}
    return "Answered: " + ", ".join(names.get(one) or one for one in part.closed.answers)


def _answers(chat: Chat, ask: AskEvent) -> Element:
    busy = ask.ask_id in chat.answering
    choices = _choices(ask)
    nodes: list[Node]
    if choices and not ask.multiple:
        nodes = [
            button(
                name,
                partial(chat.answer, ask, [value]),
                class_=class_,
                disabled=busy,
            )
            for value, name, class_ in choices
        ]
    elif choices:
        nodes = [_several(chat, ask, choices), _submit(chat, ask, busy=busy)]
    else:
        nodes = [_free(chat, ask), _submit(chat, ask, busy=busy)]
    if ask.kind != AskEvent.KIND_PERMISSION:
        decline = button("Decline", lambda: chat.answer(ask, []), class_="quiet", disabled=busy)
        nodes.append(decline)
    return h("div", nodes, class_="answers")


def _choices(ask: AskEvent) -> list[tuple[str, str, str]]:
    """Return value, name and class of each answer to choose from."""
    if ask.choices:
        return [
            (choice.value, choice.name or choice.value, _CLASSES.get(choice.kind, "secondary"))
            for choice in ask.choices
        ]
    return [(option, option, "secondary") for option in ask.options]


def _several(chat: Chat, ask: AskEvent, choices: list[tuple[str, str, str]]) -> Element:
    chosen = chat.answers.get(ask.ask_id, [])

    def toggled(value: str, _: Event) -> None:
        others = [one for one in chosen if one != value]
        chat.write_answer(ask, others if value in chosen else [*others, value])

    return h(
        "div",
        [
            h(
                "label",
                h(
                    "input",
                    type="checkbox",
                    checked=value in chosen,
                    on={"change": partial(toggled, value)},
                ),
                name,
            )
            for value, name, _ in choices
        ],
        class_="several",
    )


def _free(chat: Chat, ask: AskEvent) -> Element:
    def typed(event: Event) -> None:
        chat.write_answer(ask, [event.value])

    text = "".join(chat.answers.get(ask.ask_id, []))
    return h(
        "input",
        type="text",
        aria_label="Your answer",
        value=text,
        on={"input": typed, "keydown": keys({"Enter": lambda: _send(chat, ask)})},
    )


def _submit(chat: Chat, ask: AskEvent, *, busy: bool) -> Element:
    written = any(one.strip() for one in chat.answers.get(ask.ask_id, []))
    return button(
        "Answer", lambda: _send(chat, ask), class_="primary", disabled=busy or not written
    )


def _send(chat: Chat, ask: AskEvent) -> None:
    answers = [one for one in chat.answers.get(ask.ask_id, []) if one.strip()]
    if answers:
        chat.answer(ask, answers)
