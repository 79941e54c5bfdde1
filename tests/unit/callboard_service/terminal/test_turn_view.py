"""The events of a turn, shown once however often they come: turn_view.py."""

import io

import pytest

from callboard.v1.chat_pb2 import (
    AskClosed,
    AskEvent,
    ChatCompleted,
    ChatNotice,
    ChatToken,
    PlanEntry,
    PlanEvent,
    ReasoningToken,
    SteerEvent,
    StopReason,
    ToolCallEvent,
    ToolProgressEvent,
    ToolResultEvent,
    UsageEvent,
)
from callboard_service.terminal.feed import Shown
from callboard_service.terminal.turn_view import TurnView
from callboard_service.terminal.view import Pipe, Screen, make_console

PLAN = PlanEvent(
    entries=[
        PlanEntry(text="a", status=PlanEntry.STATUS_COMPLETED),
        PlanEntry(text="b", status=PlanEntry.STATUS_IN_PROGRESS),
    ]
)
EVENTS: list[Shown] = [
    ReasoningToken(text="hm"),
    ChatToken(text="one "),
    ToolCallEvent(call_id="1", name="read"),
    ToolResultEvent(call_id="1", output="done"),
    AskEvent(ask_id="a", title="Well?"),
    AskClosed(ask_id="a", answers=["yes"]),
    PLAN,
    SteerEvent(message_id="m", text="and quickly"),
    ChatNotice(message="trying again"),
    ChatToken(text="two"),
]
SHOWN = [
    "hm",
    "one ",
    "tool read",
    "  done",
    "? Well?",
    "  answered elsewhere: yes",
    "plan: 1 of 2 done",
    "  [x] a",
    "  [>] b",
    "> steered: and quickly",
    "trying again",
    "two",
]


def turn() -> tuple[TurnView, io.StringIO]:
    """Return a turn on a screen, and what is printed there."""
    out = io.StringIO()
    return TurnView(Screen(make_console(out))), out


def test_events_that_come_again_are_shown_once() -> None:
    """After a lost session, what was shown before is not shown again."""
    view, out = turn()
    for count in (4, 6, len(EVENTS), len(EVENTS)):
        view.begin_again()
        for event in EVENTS[:count]:
            view.show(event)
    view.end()
    assert out.getvalue().splitlines() == SHOWN


def test_a_text_that_differs_is_announced() -> None:
    """A reply that differs from what was shown is shown again after a line that says so."""
    view, out = turn()
    view.show(ChatToken(text="one"))
    view.begin_again()
    view.show(ChatToken(text="two"))
    view.end()
    assert out.getvalue().splitlines() == [
        "one",
        "the reply differs from what is above; it comes again:",
        "two",
    ]


def test_text_that_was_not_kept_is_counted() -> None:
    """A reply of which the end was lost says how much of it."""
    for kept, line in (("on", "the last character"), ("", "the last 3 characters")):
        view, out = turn()
        view.show(ChatToken(text="one"))
        view.begin_again()
        view.show(ChatToken(text=kept))
        view.end()
        assert out.getvalue().splitlines() == ["one", f"not kept of the text above: {line}"]


def test_void_tokens_are_not_taken_for_a_difference() -> None:
    """Text that comes in place of discarded tokens is shown as it comes."""
    view, out = turn()
    for event in (
        ChatToken(text="one"),
        ChatNotice(discard_tokens=1, keep_text_bytes=0),
        ChatToken(text="two"),
    ):
        view.show(event)
    view.begin_again()
    view.show(ChatToken(text="two"))
    view.end()
    assert out.getvalue().splitlines() == [
        "one", "the last token above is void and will be sent again", "two",
    ]  # fmt: skip


def test_a_tool_call_that_changes_is_shown_again() -> None:
    """A second event of a call is shown if it says more than the first."""
    view, out = turn()
    call = ToolCallEvent(call_id="1", name="read")
    view.show(call)
    view.show(call)
    later = ToolCallEvent(call_id="1", name="read")
    later.arguments["path"] = "x"
    view.show(later)
    assert out.getvalue().splitlines() == ["tool read", 'tool read {"path": "x"}']


def test_progress_is_shown_once_a_second() -> None:
    """Of the output of a tool, the last line is shown, and not for every event."""
    out, now = io.StringIO(), [0.0]
    view = TurnView(Screen(make_console(out), lambda: now[0]))
    for output in ("a\nb\n", "c\n"):
        view.show(ToolProgressEvent(call_id="1", output=output))
    now[0] = 1.0
    view.show(ToolProgressEvent(call_id="1", output="\n"))
    view.show(ToolProgressEvent(call_id="1", output="d\n"))
    assert out.getvalue().splitlines() == ["  … b", "  … d"]


def test_usage_is_shown_once_at_the_end() -> None:
    """What the conversation has used is shown on one line, as far as it is known."""
    view, out = turn()
    view.show(UsageEvent(context_used=10))
    view.show(UsageEvent(context_used=7234, context_size=8192, cost=0.5, currency="EUR"))
    view.end()
    assert out.getvalue() == "context 7,234 of 8,192 tokens (88%); cost 0.5 EUR\n"
    view, out = turn()
    view.show(UsageEvent())
    view.end()
    assert out.getvalue() == ""


@pytest.mark.parametrize(("context_used", "lines"), [(799, 0), (800, 1)])
def test_a_pipe_gets_the_usage_only_if_the_context_is_nearly_full(
    context_used: int, lines: int
) -> None:
    """A script is warned, and not told after every reply."""
    errors = io.StringIO()
    view = TurnView(Pipe(io.StringIO(), make_console(errors)))
    view.show(UsageEvent(context_used=context_used, context_size=1000))
    view.end()
    assert len(errors.getvalue().splitlines()) == lines


def test_a_plan_is_shown_again_only_when_it_has_changed() -> None:
    """A plan that comes twice is shown once, and one that comes back is shown again."""
    view, out = turn()
    other = PlanEvent(entries=[PlanEntry(text="c")])
    for plan in (PLAN, PLAN, other, PLAN):
        view.show(plan)
    heads = [line for line in out.getvalue().splitlines() if line.startswith("plan")]
    assert heads == ["plan: 1 of 2 done", "plan: 0 of 1 done", "plan: 1 of 2 done"]


def test_the_reason_why_a_reply_ended_is_kept() -> None:
    """A reply that is not complete says why."""
    view, _ = turn()
    view.show(ChatCompleted(stop_reason=StopReason.STOP_REASON_MAX_TOKENS))
    assert "token limit" in view.why_stopped
