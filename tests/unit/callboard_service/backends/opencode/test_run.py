"""Cases that no recording has: late, foreign, odd and missing events."""

from typing import Any

import pytest

from actors import Code
from callboard.v1.chat_pb2 import AskEvent, ChatCompleted, StopReason, ToolCallEvent
from callboard_service.backends.foreign import MAX_DEPTH
from callboard_service.backends.opencode.history import session_info
from callboard_service.backends.opencode.messages import Baseline, State
from callboard_service.backends.opencode.run import Run
from tests.unit.callboard_service.backends.opencode.events import (
    BEGUN,
    DONE,
    MODEL,
    SESSION,
    USER,
    delta,
    error,
    event,
    idle,
    model,
    part,
    retry,
    status,
    text,
    tool,
    user,
)
from tests.unit.callboard_service.backends.opencode.recordings import ending, plain, play


@pytest.fixture
def run() -> Run:
    return Run(SESSION, Baseline(frozenset({"msg_before"}), 50))


def seen(run: Run, state: State) -> list[tuple[Any, ...]]:
    return [plain(said) for said in run.resync(state)]


# -- the beginning and the end ---------------------------------------------------------------


def test_idle_and_error_of_the_reply_before_end_nothing(run: Run) -> None:
    late = [
        error("UnknownError", "Model not found: x/y"),
        idle(),
        model("msg_before", completed=True),
        user("msg_before", created=60),
        user("msg_older", created=40),
        text("late", "late"),
        status("idle"),
    ]
    assert play(run, late) == []
    assert (run.begun, run.unsure) == (False, False)
    assert play(run, [user(), idle()]) == []
    assert play(run, [*BEGUN, text("p"), delta("p", "hi"), text("p", "hi"), *DONE]) == [
        ("token", "hi"),
        ("completed", 0, 0),
    ]


def test_idle_that_comes_between_prompt_and_model_is_asked_about(run: Run) -> None:
    assert play(run, [user(), idle()]) == []
    doubt = run.unsure
    assert seen(run, State(status={"type": "busy"})) == []
    assert (doubt, run.unsure) == (True, False)
    answers = play(run, [model(), text("p"), delta("p", "hi"), *DONE])
    assert answers == [("token", "hi"), ("completed", 0, 0)]


def test_a_reply_that_neither_runs_nor_has_ended_stays_unsure(run: Run) -> None:
    assert play(run, BEGUN) == []
    seen(run, State([{"info": model()["properties"]["info"], "parts": []}]))
    assert (run.unsure, run.end) == (True, None)


def test_an_aborted_retry_has_no_error_and_completes(run: Run) -> None:
    assert play(run, [*BEGUN, retry(1), *DONE])[-1] == ("completed", 0, 0)


def test_an_error_that_was_overcome_does_not_fail_the_reply(run: Run) -> None:
    events = [*BEGUN, error("ContextOverflowError", "too long"), model("msg_2", completed=True)]
    assert play(run, [*events, idle()])[-1] == ("completed", 0, 0)


def test_tokens_of_all_steps_are_added_and_the_cache_counts(run: Run) -> None:
    used = {"input": 10, "output": 3, "cache": {"read": 100, "write": 1}}
    events = [user(), model("m1", tokens=used), model("m1", tokens=used)]
    events += [model("m2", tokens={"input": 1, "output": 1}, completed=True), idle()]
    assert play(run, events) == [("completed", 112, 4)]


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("stop", StopReason.STOP_REASON_END_TURN),
        ("length", StopReason.STOP_REASON_MAX_TOKENS),
        ("content-filter", StopReason.STOP_REASON_CONTENT_FILTER),
    ],
)
def test_the_last_step_says_why_the_reply_ended(
    run: Run, finish: str, reason: "StopReason.ValueType"
) -> None:
    events = [user(), model("m1", finish="tool-calls"), model("m2", finish=finish, completed=True)]
    play(run, [*events, idle()])
    assert isinstance(run.end, ChatCompleted)
    assert run.end.stop_reason == reason


def test_a_summary_behind_the_reply_is_not_how_it_ended(run: Run) -> None:
    events = [user(), model("m1", finish="length", completed=True)]
    summary = model("m2", finish="stop", summary=True, completed=True)
    play(run, [*events, summary, idle()])
    assert isinstance(run.end, ChatCompleted)
    assert run.end.stop_reason == StopReason.STOP_REASON_MAX_TOKENS


def test_429_for_ever_is_five_notices_and_an_error(run: Run) -> None:
    """Recorded over 71 seconds: attempts after 2, 5, 8, 20 and 35."""
    why = error("APIError", "rate limited", statusCode=429, isRetryable=True)
    events = [*BEGUN]
    for attempt in range(1, 6):
        events += [retry(attempt, "rate limited"), retry(attempt, "rate limited"), status("busy")]
    answers = play(run, [*events, why, status("idle"), idle(), *DONE])
    assert [answer[0] for answer in answers] == ["notice"] * 5 + ["failed"]
    assert answers[-1] == ("failed", "RESOURCE_EXHAUSTED", "rate limited", True)


# -- text ------------------------------------------------------------------------------------


def test_a_whole_text_adds_what_was_missing_and_only_that(run: Run) -> None:
    events = [*BEGUN, text("p"), delta("p", "one "), text("p", "one two"), text("p", "one two")]
    assert play(run, [*events, delta("p", "two")]) == [("token", "one "), ("token", "two")]


def test_a_whole_text_that_says_otherwise_takes_back_what_was_said(run: Run) -> None:
    events = [*BEGUN, text("p"), delta("p", "on"), delta("p", "e"), text("p", "two")]
    assert play(run, events)[2:] == [("notice", "The text was corrected.", 2), ("token", "two")]


def test_spaces_at_the_end_are_no_correction(run: Run) -> None:
    assert play(run, [*BEGUN, text("p"), delta("p", "one \n"), text("p", "one")]) == [
        ("token", "one \n")
    ]


def test_text_after_a_void_one_is_said_again(run: Run) -> None:
    events = [*BEGUN, text("p"), delta("p", "lost "), text("q"), delta("q", "kept"), retry(1)]
    first, second = play(run, [*events[:-1]]), play(run, [text("q", "kept"), retry(1)])
    assert first == [("token", "lost "), ("token", "kept")]
    assert second == [
        ("notice", "The model's server: it broke. Attempt 2 follows.", 2),
        ("token", "kept"),
    ]


def test_what_is_void_stays_void(run: Run) -> None:
    events = [*BEGUN, text("p"), delta("p", "a "), retry(1), delta("p", "b"), text("p", "a b")]
    assert [said[0] for said in play(run, events)] == ["token", "notice"]


def rest(*parts: dict[str, Any], completed: bool = False) -> State:
    """Return the server's state, with these parts in the reply's message."""
    message = {
        "info": model(completed=completed)["properties"]["info"],
        "parts": [one["properties"]["part"] for one in parts],
    }
    return State([message], {} if completed else {"type": "busy"})


def test_an_attempt_that_was_missed_makes_the_one_before_it_void(run: Run) -> None:
    first = [*BEGUN, part("s1", "step-start"), text("p"), delta("p", "a ")]
    assert play(run, first) == [("token", "a ")]
    run.lose()
    steps = [part("s1", "step-start"), text("p"), part("s2", "step-start"), text("q", "a b")]
    assert seen(run, rest(*steps, completed=True)) == [
        ("notice", "The last part of the reply is void; it will be sent again.", 1),
        ("token", "a b"),
    ]
    assert ending(run) == [("completed", 0, 0)]


def test_events_older_than_the_fetched_state_discard_nothing(run: Run) -> None:
    play(run, BEGUN)
    run.lose()
    assert seen(run, rest(part("s2", "step-start"), text("q"))) == []
    late = [retry(1), part("s2", "step-start"), text("q"), delta("q", "a"), text("q", "ab")]
    assert [said[:2] for said in play(run, late)][1:] == [("token", "ab")]


def test_a_new_attempt_without_a_retry_event_discards_the_last_one(run: Run) -> None:
    steps = [part("s1", "step-start"), text("p"), delta("p", "a "), part("s2", "step-start")]
    answers = play(run, [*BEGUN, *steps, part("s2", "step-start"), text("q"), delta("q", "a b")])
    assert answers == [
        ("token", "a "),
        ("notice", "The last part of the reply is void; it will be sent again.", 1),
        ("token", "a b"),
    ]


def test_a_summary_of_the_conversation_is_not_told(run: Run) -> None:
    events = [user(), model("msg_sum", summary=True)]
    assert play(run, [*events, part("p", "text", "msg_sum", text="x", time={"end": 1})]) == []


# -- tools -----------------------------------------------------------------------------------


def test_calls_interleave_and_each_is_told_once(run: Run) -> None:
    """The output of a call that runs is told as it grows."""
    events = [
        tool("a", "read", "pending"),
        tool("b", "read", "pending"),
        tool("a", "read", "running", input={"n": 1}),
        tool("a", "read", "running", input={"n": 1}, metadata={"output": "so far"}),
        tool("a", "read", "running", input={"n": 1}, metadata={"output": "so far"}),
        tool("a", "read", "running", input={"n": 1}, metadata={"output": "so far, so"}),
        tool("a", "read", "running", input={"n": 1}, metadata={"output": "cut, so good"}),
        tool("b", "read", "completed", input={"n": 2}, output="two"),
        tool("a", "read", "error", input={"n": 1}, error="no"),
        tool("a", "read", "running", input={"n": 1}),
    ]
    assert play(run, [*BEGUN, *events]) == [
        ("call", "call_a", "read", {"n": 1.0}),
        ("progress", "call_a", "so far"),
        ("progress", "call_a", ", so"),
        ("call", "call_b", "read", {"n": 2.0}),
        ("result", "call_b", "two", False),
        ("result", "call_a", "no", True),
    ]


def test_a_tool_that_does_not_exist_keeps_its_name_and_has_failed(run: Run) -> None:
    events = [
        tool("a", "nosuch", "pending"),
        tool("a", "invalid", "running", input={"tool": "nosuch"}),
        tool("a", "invalid", "completed", input={"tool": "nosuch"}, output="unavailable"),
    ]
    assert play(run, [*BEGUN, *events]) == [
        ("call", "call_a", "nosuch", {"tool": "nosuch"}),
        ("result", "call_a", "unavailable", True),
    ]


@pytest.mark.parametrize("given", [None, "text", 3, [1, 2]])
def test_arguments_that_are_no_object_do_no_harm(run: Run, given: object) -> None:
    (call,) = play(run, [*BEGUN, tool("a", "x", "running", input=given)])
    assert call[3] == ({} if given is None else {"input": given})


# -- asks ------------------------------------------------------------------------------------


def asked(request_id: str, message_id: str = MODEL, session: str = SESSION) -> dict[str, Any]:
    return {
        "id": request_id,
        "sessionID": session,
        "permission": "bash",
        "patterns": ["ls"],
        "tool": {"messageID": message_id, "callID": "c"},
    }


def test_asks_left_by_a_reply_that_was_stopped_are_not_asked_again(run: Run) -> None:
    play(run, BEGUN)
    state = State(
        status={"type": "busy"},
        permissions=[asked("per_old", "msg_before"), asked("per_new"), asked("p", session="s")],
    )
    assert [said[:2] for said in seen(run, state)] == [("ask", "per_new")]
    assert seen(run, state) == []
    gone = State(status={"type": "busy"}, permissions=[asked("per_old", "msg_before")])
    assert seen(run, gone) == [("closed", "per_new", [])]


def test_asks_of_agents_that_the_reply_started_are_its_own(run: Run) -> None:
    child = {"type": "permission.asked", "properties": asked("per_1", "m", "ses_child")}
    created = {"type": "session.created", "properties": {"sessionID": "ses_child"}}
    stranger = {"type": "permission.asked", "properties": asked("per_2", "m", "ses_other")}
    child_idle = {"type": "session.idle", "properties": {"sessionID": "ses_child"}}
    answers = play(run, [*BEGUN, created, child, child, stranger, child_idle])
    assert [said[:2] for said in answers] == [("ask", "per_1")]


# -- odd events ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"type": 7},
        {"type": "message.updated"},
        {"type": "message.updated", "properties": []},
        event("message.updated"),
        event("message.updated", info={"role": "assistant"}),
        event("message.updated", info={"id": "x", "role": 3, "time": "now", "tokens": [1]}),
        event("message.part.updated"),
        event("message.part.updated", part={"id": "x"}),
        event("message.part.updated", part={"id": "x", "messageID": MODEL, "type": "text"}),
        event("message.part.updated", part={"id": "x", "messageID": MODEL, "type": "tool"}),
        event("message.part.updated", part={"id": "x", "messageID": MODEL, "type": "new"}),
        event("message.part.delta", messageID=MODEL, field="text", delta="x"),
        event("message.part.delta", messageID=MODEL, partID="p", field="other", delta="x"),
        event("message.part.delta", messageID=USER, partID="p", field="text", delta="x"),
        event("message.part.delta", messageID=MODEL, partID="p", field="text", delta=5),
        event("session.status"),
        event("session.status", status={"type": "new"}),
        event("permission.asked"),
        event("permission.replied", requestID="unknown", reply="once"),
        event("question.asked", id="que", questions="?"),
        event("question.replied", requestID="unknown", answers=None),
        event("something.new", what=1),
    ],
)
def test_an_event_that_is_unknown_or_lacks_a_field_is_passed_over(
    run: Run, odd: dict[str, Any]
) -> None:
    events = [*BEGUN, odd, text("p"), delta("p", "hi"), text("p", "hi"), odd, *DONE]
    assert play(run, events) == [("token", "hi"), ("completed", 0, 0)]


def test_a_conversation_deleted_elsewhere_ends_the_reply_at_once(run: Run) -> None:
    events = [*BEGUN, event("session.deleted"), error("UnknownError", "Failed query: insert")]
    assert play(run, events) == [("failed", "CANCELLED", "the conversation was deleted", False)]
    assert ending(run)


# -- what real servers have done -------------------------------------------------------------


def test_o1_an_agent_of_an_earlier_turn_may_ask() -> None:
    run = Run(SESSION, Baseline(), ["ses_earlier"])
    asked = {"type": "permission.asked", "properties": {"id": "p1", "sessionID": "ses_earlier",
             "permission": "bash", "patterns": ["ls"], "metadata": {"command": "ls"}}}  # fmt: skip
    (ask,) = [said for event in (user(), model(), asked) for said in run.feed(event)]
    assert isinstance(ask, AskEvent)
    assert ask.ask_id == "p1"


def test_o2_the_newest_message_is_dated_hours_ahead() -> None:
    ahead = {"info": {"id": "msg_ahead", "role": "assistant", "time": {"created": 10_000_000}}}
    run = Run(SESSION, Baseline.of([ahead], all_of_them=True))
    events = [user(created=100), model(), text("p"), delta("p", "hi"), text("p", "hi"), *DONE]
    assert play(run, events) == [("token", "hi"), ("completed", 0, 0)]


def test_o2_the_same_where_events_were_missed() -> None:
    ahead = {"info": {"id": "msg_ahead", "role": "assistant", "time": {"created": 10_000_000}}}
    old: dict[str, Any] = {
        "info": {"id": "msg_old", "role": "assistant", "time": {"created": 1, "completed": 2}},
        "parts": [{"id": "o", "type": "text", "messageID": "msg_old", "text": "old",
                   "time": {"start": 1, "end": 2}}],
    }  # fmt: skip
    ours: list[dict[str, Any]] = [
        {"info": {"id": USER, "role": "user", "time": {"created": 3}}},
        {"info": {"id": MODEL, "role": "assistant", "parentID": USER,
                  "time": {"created": 4, "completed": 5}},
         "parts": [{"id": "p", "type": "text", "messageID": MODEL, "text": "hi",
                    "time": {"start": 4, "end": 5}}]},
    ]  # fmt: skip
    run = Run(SESSION, Baseline.of([ahead], all_of_them=False))
    assert seen(run, State(messages=[old, ahead, *ours])) == [("token", "hi")]
    assert isinstance(run.end, ChatCompleted)


def test_o2_a_reply_to_an_earlier_message_is_ignored(run: Run) -> None:
    late = model("msg_late", parentID="msg_before", completed=True)
    assert play(run, [late, part("p", "text", "msg_late", text="late")]) == []
    assert not run.begun


@pytest.mark.parametrize("session", [SESSION, ""])
def test_o3_an_error_that_may_be_about_the_reply_is_remembered(run: Run, session: str) -> None:
    event = error("ProviderAuthError", "the key is wrong")
    event["properties"]["sessionID"] = session
    assert play(run, [event]) == []
    assert run.end is None
    assert run.hint is not None
    assert run.hint.code is Code.UNAUTHENTICATED


def test_o4_split_surrogate_pairs_are_joined(run: Run) -> None:
    """JavaScript cuts strings by UTF-16 units, so two deltas may each have half of a pair."""
    events = [*BEGUN, text("p"), delta("p", "a \ud83d"), delta("p", "\ude00 b\ud83d")]
    assert play(run, events) == [("token", "a "), ("token", "😀 b")]
    assert play(run, [text("p", "a 😀 b\ud83d")]) == [("token", "\ufffd")]
    title = session_info({"id": "ses_1", "title": "cut \ud83d"}, {})
    assert title.title == "cut \ufffd"


@pytest.mark.parametrize("depth", [24, 33, 40, 100_000])
def test_o5_input_that_is_nested_deeply(run: Run, depth: int) -> None:
    nested: Any = {}
    for _ in range(depth - 1):
        nested = {"a": nested}
    events = [event for each in (*BEGUN, tool("t", "deep", "running", input=nested))
              for event in run.feed(each)]  # fmt: skip
    (called,) = events
    assert isinstance(called, ToolCallEvent)
    assert type(called).FromString(called.SerializeToString()) == called
    assert list(called.arguments) == (["a"] if depth <= MAX_DEPTH else ["arguments"])


@pytest.mark.parametrize(
    ("newest", "overtaken"), [("msg_ahead", True), (USER, False), (MODEL, False)]
)
def test_o2_a_message_that_is_not_the_newest_gets_no_answer(newest: str, overtaken: bool) -> None:
    run = Run(SESSION, Baseline())
    run.feed(user())
    state = State(messages=[{"info": {"id": USER}}, {"info": {"id": newest}}])
    if newest == MODEL:
        run.feed(model())
    assert run.is_overtaken(state) == overtaken
    assert not Run(SESSION, Baseline()).is_overtaken(state)
    assert not run.is_overtaken(State(messages=[]))
