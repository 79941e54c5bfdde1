"""A turn of a conversation: the message, and all that the reply consists of."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from callboard.v1.chat_pb2 import (
    ChatCompleted,
    PlanEntry,
    PlanEvent,
    StopReason,
    TurnState,
)
from callboard_page.chat import Chat
from callboard_page.nodes import Element, Event, Node, h
from callboard_page.view.asks import ask_view
from callboard_page.view.parts import button, count_of, hidden, icon
from callboard_page.view.tools import attachment_view, tool_view
from transport.client.followed_turn import (
    AskPart,
    FollowedTurn,
    Part,
    ReasoningPart,
    SteeredPart,
    TextPart,
    ToolCall,
)

if TYPE_CHECKING:
    from callboard_page.text.markdown import Markdown

_REASONS: Final = {
    StopReason.STOP_REASON_MAX_TOKENS: "Cut off at the token limit.",
    StopReason.STOP_REASON_REFUSAL: "The model refused.",
    StopReason.STOP_REASON_CONTENT_FILTER: "Stopped by a content filter.",
    StopReason.STOP_REASON_MAX_STEPS: "The agent reached its limit of steps.",
    StopReason.STOP_REASON_CONTEXT_FULL: "The conversation fills the model's context.",
}

_PLAN: Final = {
    PlanEntry.STATUS_PENDING: ("pending", "to do"),
    PlanEntry.STATUS_IN_PROGRESS: ("running", "in progress"),
    PlanEntry.STATUS_COMPLETED: ("done", "done"),
}

_LIVE: Final = frozenset(
    {TurnState.TURN_STATE_RUNNING, TurnState.TURN_STATE_WAITING, TurnState.TURN_STATE_STOPPING}
)


@dataclass(slots=True)
class _Drawn:
    """A turn as it was drawn last. state: what its view depends on. texts: by the part's id."""

    turn: FollowedTurn
    state: object
    element: Element
    texts: "dict[int, tuple[TextPart, Markdown]]"


class TurnViews:
    """The views of one thread's turns. A turn that has not changed keeps its nodes."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._drawn: dict[int, _Drawn] = {}
        self._texts_before: dict[int, tuple[TextPart, Markdown]] = {}
        self._texts: dict[int, tuple[TextPart, Markdown]] = {}

    def views(self, turns: Iterable[FollowedTurn], *, retry: FollowedTurn | None) -> list[Element]:
        """Return the nodes of these turns, and keep nothing of others.

        retry: the turn that may be tried again.
        """
        drawn = [self._view(turn, can_retry=turn is retry) for turn in turns]
        self._drawn = {id(each.turn): each for each in drawn}
        return [each.element for each in drawn]

    def _view(self, turn: FollowedTurn, *, can_retry: bool) -> _Drawn:
        state = (turn.changes, can_retry, self._outside(turn))
        drawn = self._drawn.get(id(turn))
        if drawn is not None and drawn.turn is turn and drawn.state == state:
            return drawn
        self._texts_before = {} if drawn is None else drawn.texts
        self._texts = {}
        element = self._turn(turn, can_retry=can_retry)
        return _Drawn(turn, state, element, self._texts)

    def _outside(self, turn: FollowedTurn) -> object:
        """Return what a turn's view depends on beside the turn itself."""
        chat = self._chat
        opened = frozenset(key for key in chat.toggled if key.startswith(f"{_key(turn)}/"))
        asks = tuple(
            (ask_id, ask_id in chat.answering, tuple(chat.answers.get(ask_id, ())))
            for ask_id in turn.asks
        )
        attached = [*turn.attachments]
        for tool in turn.tools.values():
            if tool.result is not None:
                attached += tool.result.attachments
        pictures = tuple(chat.pictures.get(one.id, "") for one in attached)
        thread = chat.thread
        return opened, asks, pictures, thread is not None and thread.can("fork")

    def _turn(self, turn: FollowedTurn, *, can_retry: bool) -> Element:
        live = turn.info.state in _LIVE
        reply: list[Node] = []
        if turn.plan is not None and turn.plan.entries:
            reply.append(_plan(turn.plan))
        last = turn.parts[-1] if turn.parts else None
        for place, part in enumerate(turn.parts):
            growing = live and part is last
            reply.append(self._part(turn, part, place, growing=growing))
        if live:
            reply.append(_progress(turn))
        reply += self._end(turn, can_retry=can_retry)
        return h(
            "article",
            self._message(turn) if turn.text or turn.attachments else None,
            h("div", h("h3", "Reply", class_="hidden"), reply, class_="reply", key="reply"),
            class_="turn",
            aria_label="Turn",
            key=_key(turn),
        )

    def _message(self, turn: FollowedTurn) -> Element:
        chat = self._chat
        thread = chat.thread
        can_edit = turn.ended and turn.text and thread is not None and thread.can("fork")
        return h(
            "div",
            h("h3", "You", class_="hidden"),
            h("div", turn.text, class_="text") if turn.text else None,
            [attachment_view(chat, one) for one in turn.attachments],
            h(
                "div",
                button("Copy message", lambda: chat.window.copy(turn.text), name="copy"),
                button("Edit in a copy of the conversation", lambda: chat.edit(turn), name="edit")
                if can_edit
                else None,
                class_="actions",
            )
            if turn.text
            else None,
            class_="message",
            key="message",
        )

    def _part(self, turn: FollowedTurn, part: Part, place: int, *, growing: bool) -> Element:
        key = f"{_key(turn)}/{place}"
        match part:
            case ReasoningPart():
                return self._reasoning(part, key, growing=growing)
            case TextPart():
                return h("div", self._text(part, growing=growing), class_="markdown", key=key)
            case ToolCall():
                return tool_view(self._chat, part, key, ended=turn.info.state not in _LIVE)
            case AskPart():
                return h("div", ask_view(self._chat, part), key=key)
            case SteeredPart():
                label = h("span", "Added while it ran", class_="tag")
                return h("div", label, part.steered.text, class_="steered", key=key)

    def _text(self, part: TextPart, *, growing: bool) -> tuple[Node, ...]:
        from callboard_page.text.markdown import Markdown  # not before the page can be seen

        kept = self._texts_before.get(id(part)) or (part, Markdown(self._chat.window.copy))
        self._texts[id(part)] = kept
        return kept[1].nodes(part.text, final=not growing)

    def _reasoning(self, part: ReasoningPart, key: str, *, growing: bool) -> Element:
        opened = key in self._chat.toggled

        def toggled(event: Event) -> None:
            event.prevent()
            self._chat.toggle(key)

        label = "Thinking …" if growing else "Thoughts"
        return h(
            "details",
            h("summary", icon("chevron"), h("span", label), on={"click": toggled}),
            h("div", part.text, class_="text") if opened else None,
            open=opened,
            class_="reasoning",
            key=key,
        )

    def _end(self, turn: FollowedTurn, *, can_retry: bool) -> list[Node]:
        chat = self._chat
        nodes: list[Node] = []
        said = _how_it_ended(turn)
        if said is not None:
            nodes.append(said)
        actions: list[Node] = []
        if turn.ended and turn.reply:
            copy = button("Copy reply", lambda: chat.window.copy(turn.reply), name="copy")
            actions.append(copy)
        if can_retry:
            actions.append(button("Try again", lambda: chat.retry(turn), class_="secondary"))
        if turn.completed is not None and turn.completed.output_tokens:
            actions.append(h("span", _tokens(turn.completed), class_="tokens"))
        if actions:
            nodes.append(h("div", actions, class_="actions", key="actions"))
        return nodes


def _key(turn: FollowedTurn) -> str:
    """Return what a turn is known by; one of an old history has no id."""
    return turn.info.id or turn.entry


def _progress(turn: FollowedTurn) -> Element:
    if turn.info.state == TurnState.TURN_STATE_STOPPING:
        label = "Stopping …"
    elif turn.info.state == TurnState.TURN_STATE_WAITING:
        label = "Waiting for your answer"
    else:
        label = turn.notice
    waiting = turn.info.state == TurnState.TURN_STATE_WAITING
    return h(
        "p",
        None if waiting else h("span", class_="pulse", aria_hidden="true"),
        label,
        class_="progress",
        key="progress",
    )


def _how_it_ended(turn: FollowedTurn) -> Element | None:
    match turn.info.state:
        case TurnState.TURN_STATE_CANCELLED:
            return _end_note("Stopped.")
        case TurnState.TURN_STATE_INTERRUPTED:
            return _end_note("Interrupted: the service or its backend ended while this ran.")
        case TurnState.TURN_STATE_FAILED:
            text = turn.error.message if turn.error is not None else "It failed."
            return h("p", text, class_="ended error", key="ended")
        case _:
            pass
    if turn.completed is None:
        return None
    reason = _REASONS.get(turn.completed.stop_reason) or turn.completed.stop_detail
    if reason:
        return _end_note(reason)
    if not turn.parts:
        return _end_note("The reply was empty.")
    return None


def _end_note(text: str) -> Element:
    return h("p", text, class_="ended", key="ended")


def _tokens(completed: ChatCompleted) -> str:
    return f"{count_of(completed.input_tokens)} in · {count_of(completed.output_tokens)} out"


def _plan(plan: PlanEvent) -> Element:
    items = []
    for entry in plan.entries:
        state, label = _PLAN.get(entry.status, ("pending", "to do"))
        mark = h("span", hidden(f"{label}: "), class_=f"state {state}")
        items.append(h("li", mark, entry.text, class_=state))
    return h("ol", items, class_="plan", aria_label="Plan", key="plan")
