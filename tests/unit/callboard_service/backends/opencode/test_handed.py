"""Messages are used by the step that answers the newest of them."""

from typing import Any

from callboard.v1.chat_pb2 import SteerEvent
from callboard_service.backends.opencode.handed import Handed
from callboard_service.backends.opencode.marks import Mark, handed_id_of, message_id_of
from callboard_service.backends.opencode.messages import Baseline, State
from callboard_service.backends.opencode.run import Run
from tests.unit.callboard_service.backends.opencode.events import (
    BEGUN,
    DONE,
    SESSION,
    delta,
    idle,
    model,
    status,
    text,
    user,
)
from tests.unit.callboard_service.backends.opencode.recordings import play

TURN = "0123456789abcdef" * 2


def handing(*names: str) -> tuple[Handed, list[str]]:
    handed = Handed(TURN)
    ids = [handed.add(SteerEvent(message_id=name, text=f"text {name}")) for name in names]
    for message_id in ids:
        handed.posted(message_id)
    return handed, ids


def named(events: list[SteerEvent]) -> list[str]:
    return [event.message_id for event in events]


def test_a_step_uses_the_message_that_it_answers_and_those_before_it() -> None:
    handed, (one, two, three) = handing("1", "2", "3")
    assert named(handed.used_by("msg_other")) == []
    assert named(handed.used_by(two)) == ["1", "2"]
    assert named(handed.used_by(two)) == named(handed.used_by(one)) == []
    assert handed.unused() == (three,)


def test_a_message_that_was_not_posted_cannot_be_left() -> None:
    """One that is handed over again keeps its id."""
    handed, (one,) = handing("1")
    two = handed.add(SteerEvent(message_id="2"))
    assert handed.unused() == (one,)
    assert handed.add(SteerEvent(message_id="2")) == two
    assert (one in handed, two in handed, "msg_x" in handed) == (True, True, False)


def test_a_message_is_sent_with_the_turn_s_own_choices() -> None:
    """None is known if the turn's message was not seen."""
    for info, choices in (
        ({}, {}),
        (
            {"agent": "a", "model": {"providerID": "p", "modelID": "m", "variant": "v"}},
            {"agent": "a", "model": {"providerID": "p", "modelID": "m"}, "variant": "v"},
        ),
    ):
        handed = Handed(TURN)
        assert not handed.begun.is_set()
        handed.begin(info)
        handed.begin({"agent": "later"})
        assert handed.begun.is_set()
        assert handed.choices() == choices


def test_a_reply_tells_where_it_has_used_a_message() -> None:
    """Between what it said before and what it said with it."""
    handed, (one,) = handing("1")
    run = Run(SESSION, Baseline(), handed=handed)
    before = [*BEGUN, text("p"), delta("p", "a"), text("p", "a"), model(completed=True), user(one)]
    assert play(run, before) == [("token", "a")]
    step = model("msg_2", parentID=one)
    (event,) = run.feed(step)
    assert event == SteerEvent(message_id="1", text="text 1")
    assert run.feed(step) == []
    after = [model("msg_2", parentID=one, completed=True), idle()]
    assert play(run, after)[-1][0] == "completed"


def test_a_step_that_was_missed_has_used_its_message() -> None:
    """It is found in what the server keeps."""
    handed, (one, _) = handing("1", "2")
    run = Run(SESSION, Baseline(), handed=handed)
    play(run, BEGUN)
    messages = [event["properties"] for event in (user(), model(), user(one))]
    messages.append(model("msg_2", parentID=one)["properties"])
    events = run.resync(State(messages, status={"type": "busy"}))
    assert [event for event in events if isinstance(event, SteerEvent)] == [
        SteerEvent(message_id="1", text="text 1")
    ]


def test_an_idle_server_with_an_unused_message_has_ended_the_reply() -> None:
    """It starts no reply to the message by itself."""
    handed, (one,) = handing("1")
    run = Run(SESSION, Baseline(), handed=handed)
    assert play(run, [*BEGUN, user(one), *DONE])[-1][0] == "completed"
    assert handed.unused() == (one,)


def test_a_message_at_the_end_is_no_sign_of_a_clock_that_is_ahead() -> None:
    handed, (one,) = handing("1")
    run = Run(SESSION, Baseline(), handed=handed)
    play(run, [user(), status("busy")])
    assert not run.is_overtaken(State([user()["properties"], user(one)["properties"]]))
    assert run.is_overtaken(State([user()["properties"], user("msg_ahead")["properties"]]))


def test_what_was_handed_over_before_a_restart_is_known_again() -> None:
    """The marks of the messages have their names."""

    def said(message_id: str, mark: Mark, words: str) -> dict[str, Any]:
        part = {"type": "text", "text": words, "metadata": mark.metadata()}
        return {"info": {"id": message_id, "role": "user"}, "parts": [part]}

    handed = Handed(TURN)
    one = handed_id_of(TURN, "n", 0)
    handed.restore(
        [
            said(message_id_of(TURN), Mark(TURN), "own"),
            said(one, Mark(TURN, "n"), "words"),
            said("msg_other", Mark("f" * 32, "other"), "of another turn"),
        ]
    )
    assert handed.unused() == (one,)
    assert handed.used_by(one) == [SteerEvent(message_id="n", text="words")]
