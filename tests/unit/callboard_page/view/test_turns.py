"""What a person sees of a turn in each of its states."""

import pytest

from callboard.v1.chat_pb2 import (
    AskEvent,
    ChatCompleted,
    ChatError,
    ChatNotice,
    ChatToken,
    PlanEntry,
    PlanEvent,
    ReasoningToken,
    SteerEvent,
    StopReason,
    ToolCallEvent,
    TurnState,
)
from callboard_page.nodes import Element, Event, find, text_of
from callboard_page.view.turns import TurnViews
from tests.support.still_page import StillPage, add, turn
from transport.client.followed_turn import FollowedTurn

RUNNING = TurnState.TURN_STATE_RUNNING


def view(page: StillPage, shown: FollowedTurn) -> Element:
    page.show([shown], features=("fork",))
    (element,) = page.find(class_="turn")
    return element


@pytest.fixture
def page() -> StillPage:
    return StillPage()


def test_a_reply_with_its_message(page: StillPage) -> None:
    shown = view(
        page, turn(ChatToken(text="*a*"), ChatCompleted(input_tokens=5, output_tokens=1200))
    )
    assert text_of(find(shown, class_="text")[0]) == "the message"
    assert text_of(find(shown, tag="em")[0]) == "a"
    assert text_of(find(shown, class_="tokens")[0]) == "5 in · 1.2k out"
    assert [text_of(one) for one in find(shown, tag="h3")] == ["You", "Reply"]
    assert shown.attributes["aria-label"] == "Turn"
    for label in ("Copy message", "Copy reply", "Edit in a copy of the conversation"):
        assert find(shown, aria_label=label), label


def test_a_message_is_text_and_no_markdown(page: StillPage) -> None:
    shown = view(page, turn(text="<b>*a*</b>\n[x](https://x.example)"))
    assert text_of(find(shown, class_="text")[0]) == "<b>*a*</b>\n[x](https://x.example)"
    assert not find(shown, tag="a")
    assert not find(shown, tag="em")


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (RUNNING, ""),
        (TurnState.TURN_STATE_WAITING, "Waiting for your answer"),
        (TurnState.TURN_STATE_STOPPING, "Stopping …"),
    ],
)
def test_a_turn_that_runs(page: StillPage, state: TurnState.ValueType, said: str) -> None:
    shown = view(page, turn(ChatToken(text="a"), state=state))
    (progress,) = find(shown, class_="progress")
    assert text_of(progress) == said
    moves = state != TurnState.TURN_STATE_WAITING
    assert [one.attributes.get("aria-hidden") for one in find(progress, class_="pulse")] == (
        ["true"] if moves else []
    )
    assert not find(shown, aria_label="Copy reply")
    assert not find(shown, aria_label="Edit in a copy of the conversation")


def test_a_notice_is_shown_while_it_matters(page: StillPage) -> None:
    running = turn(ChatNotice(message="The model loads"), state=RUNNING)
    assert text_of(find(view(page, running), class_="progress")[0]) == "The model loads"
    assert "loads" not in text_of(view(page, turn(ChatNotice(message="The model loads"))))


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        (turn(state=TurnState.TURN_STATE_CANCELLED), "Stopped."),
        (
            turn(state=TurnState.TURN_STATE_INTERRUPTED),
            "Interrupted: the service or its backend ended while this ran.",
        ),
        (turn(ChatError(message="no model"), state=TurnState.TURN_STATE_FAILED), "no model"),
        (turn(state=TurnState.TURN_STATE_FAILED), "It failed."),
        (turn(ChatCompleted()), "The reply was empty."),
        (turn(ChatCompleted(stop_detail="because")), "because"),
        *(
            (turn(ChatToken(text="a"), ChatCompleted(stop_reason=reason)), said)
            for reason, said in (
                (StopReason.STOP_REASON_MAX_TOKENS, "Cut off at the token limit."),
                (StopReason.STOP_REASON_REFUSAL, "The model refused."),
                (StopReason.STOP_REASON_CONTENT_FILTER, "Stopped by a content filter."),
                (StopReason.STOP_REASON_MAX_STEPS, "The agent reached its limit of steps."),
                (
                    StopReason.STOP_REASON_CONTEXT_FULL,
                    "The conversation fills the model's context.",
                ),
            )
        ),
    ],
)
def test_how_it_ended(page: StillPage, ended: FollowedTurn, said: str) -> None:
    assert [text_of(one) for one in find(view(page, ended), class_="ended")] == [said]


def test_an_ordinary_end_is_not_said(page: StillPage) -> None:
    shown = turn(ChatToken(text="a"), ChatCompleted(stop_reason=StopReason.STOP_REASON_END_TURN))
    assert not find(view(page, shown), class_="ended")


def test_a_failed_turn_can_be_tried_again(page: StillPage) -> None:
    failed = turn(ChatError(message="no"), state=TurnState.TURN_STATE_FAILED)
    view(page, failed)
    assert page.button("Try again")
    view(page, turn(ChatCompleted()))
    assert not page.button("Try again")


def test_reasoning_is_closed_until_it_is_opened(page: StillPage) -> None:
    shown = turn(ReasoningToken(text="hm *x*"), state=RUNNING)
    (details,) = find(view(page, shown), class_="reasoning")
    assert text_of(details) == "Thinking …"
    prevented: list[bool] = []
    click = find(details, tag="summary")[0].handlers["click"]
    click(Event("click", prevent=lambda: prevented.append(True)))
    assert prevented == [True]  # the view says what is open
    (details,) = page.find(class_="reasoning")
    assert text_of(details) == "Thinking …hm *x*"
    assert "open" in details.attributes
    add(shown, ChatToken(text="a"))
    (details,) = page.find(class_="reasoning")
    assert text_of(details) == "Thoughtshm *x*"


def test_a_plan(page: StillPage) -> None:
    entries = [
        PlanEntry(text="a", status=PlanEntry.STATUS_COMPLETED),
        PlanEntry(text="b", status=PlanEntry.STATUS_IN_PROGRESS),
        PlanEntry(text="c", status=PlanEntry.STATUS_PENDING),
        PlanEntry(text="d"),
    ]
    shown = view(page, turn(PlanEvent(entries=entries), state=RUNNING))
    (plan,) = find(shown, class_="plan")
    assert plan.attributes["aria-label"] == "Plan"
    items = [text_of(child) for child in plan.children]
    assert items == ["done: a", "in progress: b", "to do: c", "to do: d"]


def test_a_message_that_was_handed_over(page: StillPage) -> None:
    shown = view(page, turn(SteerEvent(text="this way"), state=RUNNING))
    assert [text_of(one) for one in find(shown, class_="steered")] == ["Added while it ranthis way"]


def test_a_turn_without_a_message_shows_the_reply_alone(page: StillPage) -> None:
    shown = view(page, turn(ChatToken(text="a"), text=""))
    assert not find(shown, class_="message")
    assert text_of(find(shown, class_="markdown")[0]) == "a"


# -- what is kept ----------------------------------------------------------------------------


def test_a_turn_that_has_not_changed_keeps_its_nodes(page: StillPage) -> None:
    old = turn(ChatToken(text="a"), ChatCompleted(), name="old")
    new = turn(ChatToken(text="b"), state=RUNNING, name="new")
    page.show([old, new])
    before = page.find(class_="turn")
    add(new, ChatToken(text="c"))
    after = page.find(class_="turn")
    assert after[0] is before[0]
    assert after[1] is not before[1]
    page.chat.toggle("new/0")
    page.chat.write_answer(AskEvent(ask_id="of another turn"), ["x"])
    assert page.find(class_="turn")[0] is before[0]


def test_a_paragraph_that_has_ended_keeps_its_nodes(page: StillPage) -> None:
    shown = turn(ChatToken(text="one\n\ntwo"), state=RUNNING)
    before = find(view(page, shown), tag="p")[0]
    add(shown, ChatToken(text=" more"))
    (markdown,) = page.find(class_="markdown")
    assert markdown.children[0] is before


@pytest.mark.parametrize("what", ["toggled", "answering", "answers", "fork", "retry"])
def test_a_turn_is_drawn_again_when_what_it_shows_has_changed(page: StillPage, what: str) -> None:
    state = TurnState.TURN_STATE_FAILED if what == "retry" else TurnState.TURN_STATE_WAITING
    shown = turn(AskEvent(ask_id="a", options=["x"]), state=state)
    thread = page.show([shown])
    (before,) = page.find(class_="turn")
    match what:
        case "toggled":
            page.chat.toggle("t1/0")
        case "answering":
            page.chat.answering.add("a")
        case "answers":
            page.chat.write_answer(AskEvent(ask_id="a"), ["x"])
        case "fork":
            thread.state.info.features.append("fork")
        case _:
            later = turn(state=RUNNING, name="later")
            thread.state.turns["later"] = later
            thread._see()
    assert page.find(class_="turn")[0] is not before


def test_nothing_is_kept_of_turns_that_are_gone(page: StillPage) -> None:
    views = TurnViews(page.chat)
    many = [turn(ChatToken(text="a"), ToolCallEvent(call_id="1"), name=str(n)) for n in range(5)]
    first = views.views(many, retry=None)
    assert views.views(many[3:], retry=None) == first[3:]
    assert len(views._drawn) == 2
    assert len(views._drawn[id(many[4])].texts) == 1
