"""Asks: what is posted to the server for an answer, and how each ask is closed."""

from typing import Any

import pytest

from callboard.v1.chat_pb2 import AnswerRequest, AskOption
from callboard_service.backends.opencode.asks import Asks, Settlement

PERMISSION = {"id": "per_1", "permission": "edit", "metadata": {"diff": "+x"}, "patterns": ["a"]}
QUESTION: dict[str, Any] = {
    "id": "que_1",
    "questions": [{"question": "A?", "options": []}, {"question": "B?", "options": []}],
}


def settled(asks: Asks, ask_id: str, *answers: str, message: str = "") -> Settlement | None:
    return asks.answer(AnswerRequest(ask_id=ask_id, answers=answers, message=message))


@pytest.mark.parametrize(
    ("answers", "message", "body"),
    [
        (["once"], "ignored", {"reply": "once"}),
        (["always"], "", {"reply": "always"}),
        (["reject"], "do that", {"reply": "reject", "message": "do that"}),
        ([], "", {"reply": "reject"}),
        (["yes please"], "", {"reply": "reject"}),
        (["once", "always"], "", {"reply": "reject"}),
    ],
)
def test_a_permission_is_given_only_by_a_plain_yes(
    answers: list[str], message: str, body: dict[str, str]
) -> None:
    asks = Asks()
    (ask,) = asks.permission(PERMISSION)
    assert (ask.title, ask.detail) == ("Change a file: a", "+x")
    assert [choice.value for choice in ask.choices] == list(ask.options)
    settlement = settled(asks, "per_1", *answers, message=message)
    assert settlement == Settlement("per_1", "/permission/per_1/reply", body)
    assert settled(asks, "per_1", "once") is None


def test_questions_are_posted_when_the_last_is_answered() -> None:
    asks = Asks()
    assert [ask.ask_id for ask in asks.question(QUESTION)] == ["que_1.1", "que_1.2"]
    assert settled(asks, "que_1.2", "b", "c") is None
    assert settled(asks, "que_1.2", "d") is None
    done = settled(asks, "que_1.1", "a")
    assert done == Settlement("que_1", "/question/que_1/reply", {"answers": [["a"], ["b", "c"]]})
    closed = asks.replied({"requestID": "que_1", "answers": [["a"], ["b", "c"]]})
    assert [(one.ask_id, list(one.answers)) for one in closed] == [
        ("que_1.1", ["a"]),
        ("que_1.2", ["b", "c"]),
    ]
    assert not asks.waiting


def test_one_declined_question_rejects_the_request() -> None:
    asks = Asks()
    asks.question(QUESTION)
    assert settled(asks, "que_1.1") == Settlement("que_1", "/question/que_1/reject", {})
    assert settled(asks, "que_1.2", "b") is None
    assert [list(one.answers) for one in asks.replied({"requestID": "que_1"})] == [[], []]


def test_an_ask_that_is_settled_is_not_opened_again() -> None:
    asks = Asks()
    assert asks.replied({"requestID": "per_1", "reply": "once"}) == []
    assert asks.permission(PERMISSION) == []


def test_an_ask_that_ended_unseen_closes_with_the_answer_that_was_given() -> None:
    asks = Asks()
    asks.permission(PERMISSION)
    settled(asks, "per_1", "always")
    assert asks.only({"per_1"}) == []
    assert [(list(one.answers), one.answered) for one in asks.only(set())] == [(["always"], True)]
    assert settled(asks, "unknown", "x") is None


@pytest.mark.parametrize("field", ["detail", "title"])
def test_what_is_too_long_to_be_shown_can_only_be_refused(field: str) -> None:
    long = "x" * 300_000
    permission: dict[str, Any] = dict(PERMISSION)
    if field == "detail":
        permission["metadata"] = {"command": long}
    else:
        permission["patterns"] = [long]
    (ask,) = Asks().permission(permission)
    assert list(ask.options) == ["reject"] == [choice.value for choice in ask.choices]
    assert getattr(ask, field).endswith("more characters are not shown]")


def test_a_long_command_is_shown_whole() -> None:
    command = "echo " + "x" * 200_000 + " ; rm -rf ~"
    (ask,) = Asks().permission({**PERMISSION, "metadata": {"command": command}})
    assert ask.detail == command
    assert list(ask.options) == ["once", "always", "reject"]


def test_the_choices_of_a_permission_say_what_they_mean() -> None:
    """The scope of "always" is in its name."""
    (ask,) = Asks().permission({**PERMISSION, "always": ["src/*", "a"]})
    assert [(choice.value, choice.name, choice.kind) for choice in ask.choices] == [
        ("once", "Allow once", AskOption.KIND_ALLOW_ONCE),
        (
            "always",
            "Always allow src/*, a in this project, until OpenCode ends",
            AskOption.KIND_ALLOW_ALWAYS,
        ),
        ("reject", "Reject once", AskOption.KIND_REJECT_ONCE),
    ]


def test_an_ask_that_nobody_answered_says_so() -> None:
    """It was withdrawn; a declined one was answered."""
    asks = Asks()
    asks.permission(PERMISSION)
    asks.question(QUESTION)
    assert [one.answered for one in asks.replied({"requestID": "que_1"})] == [True, True]
    assert [one.answered for one in asks.only(set())] == [False]
