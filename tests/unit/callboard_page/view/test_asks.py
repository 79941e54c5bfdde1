"""Questions, open and settled."""

import pytest

from callboard.v1.chat_pb2 import AskClosed, AskEvent, AskOption, TurnState
from callboard_page.nodes import Element, find, text_of
from tests.support.still_page import StillPage, turn


@pytest.fixture
def page() -> StillPage:
    return StillPage()


def ask(page: StillPage, *events: object) -> Element:
    page.show([turn(*events, state=TurnState.TURN_STATE_WAITING)])
    (shown,) = page.find(class_="ask")
    return shown


CHOICES = [
    AskOption(value="1", name="Once", kind=AskOption.KIND_ALLOW_ONCE),
    AskOption(value="2", name="Always", kind=AskOption.KIND_ALLOW_ALWAYS),
    AskOption(value="3", name="Never", kind=AskOption.KIND_REJECT_ALWAYS),
    AskOption(value="other"),
]
PERMISSION = AskEvent(
    ask_id="a", kind=AskEvent.KIND_PERMISSION, title="Run ls?", detail="ls -l", choices=CHOICES
)


def test_an_open_question_is_a_group_with_its_answers(page: StillPage) -> None:
    shown = ask(page, PERMISSION)
    assert shown.attributes["role"] == "group"
    assert shown.attributes["aria-label"] == "Your answer is needed"
    assert text_of(find(shown, class_="q")[0]) == "Run ls?"
    assert text_of(find(shown, class_="detail")[0]) == "ls -l"
    buttons = [(text_of(one), one.attributes["class"]) for one in find(shown, tag="button")]
    assert buttons == [
        ("Once", "primary"), ("Always", "secondary"), ("Never", "danger"), ("other", "secondary"),
    ]  # fmt: skip


def test_a_question_without_a_title(page: StillPage) -> None:
    assert "It asks for permission" in text_of(
        ask(page, AskEvent(ask_id="a", kind=AskEvent.KIND_PERMISSION, options=["x"]))
    )
    assert text_of(find(ask(page, AskEvent(ask_id="a")), class_="q")[0]) == "It asks"


def test_an_answer_on_its_way_disables_the_others(page: StillPage) -> None:
    page.chat.answering.add("a")
    buttons = find(ask(page, PERMISSION), tag="button")
    assert all("disabled" in one.attributes for one in buttons)


@pytest.mark.parametrize(
    ("closed", "said"),
    [
        (AskClosed(answered=True, answers=["1"]), "Answered: Once"),
        (AskClosed(answered=True, answers=["1", "other"]), "Answered: Once, other"),
        (AskClosed(answered=True, answers=["free text"]), "Answered: free text"),
        (AskClosed(answered=True), "Declined."),
        (AskClosed(), "No longer needed."),
    ],
)
def test_a_settled_question_says_how(page: StillPage, closed: AskClosed, said: str) -> None:
    closed.ask_id = "a"
    shown = ask(page, PERMISSION, closed)
    assert text_of(find(shown, class_="settled")[0]) == said
    assert not find(shown, tag="button")
    assert "role" not in shown.attributes


def test_free_text_has_a_field_with_a_name(page: StillPage) -> None:
    shown = ask(page, AskEvent(ask_id="a", kind=AskEvent.KIND_QUESTION, title="Name?"))
    (field,) = find(shown, tag="input")
    assert field.attributes["aria-label"] == "Your answer"
    labels = [text_of(one) for one in find(shown, tag="button")]
    assert labels == ["Answer", "Decline"]


def test_several_answers_are_boxes_with_labels(page: StillPage) -> None:
    several = AskEvent(ask_id="a", kind=AskEvent.KIND_QUESTION, multiple=True, options=["x", "y"])
    shown = ask(page, several)
    labels = find(shown, tag="label")
    assert [text_of(one) for one in labels] == ["x", "y"]
    assert all(find(one, type="checkbox") for one in labels)
