"""The field for a message and what is around it, as they are seen."""

import pytest

from callboard.v1.chat_pb2 import OptionChoice, OptionList, SessionOption, TurnState, UsageEvent
from callboard_page.nodes import find, text_of
from callboard_page.view.composer import MOST_ROWS
from callboard_page.view.parts import count_of, size_of
from tests.support.still_page import StillPage, turn


@pytest.fixture
def page() -> StillPage:
    return StillPage()


def labels(page: StillPage) -> list[str]:
    (form,) = page.find(class_="composer")
    buttons = find(form, tag="button")
    return [one.attributes.get("aria-label") or text_of(one) for one in buttons]


def test_the_field_grows_with_its_text_up_to_a_most(page: StillPage) -> None:
    rows = []
    for text in ("", "a", "a\nb\nc", "x" * 450, "\n" * 99):
        page.chat.composer.write(text)
        rows.append(page.find(id="message")[0].attributes["rows"])
    assert rows == ["2", "2", "3", "5", str(MOST_ROWS)]


def test_what_can_be_done_while_a_reply_runs(page: StillPage) -> None:
    thread = page.show([turn(state=TurnState.TURN_STATE_RUNNING)])
    assert labels(page) == ["Stop the reply", "Put into the queue"]
    page.chat.composer.write("more")
    assert labels(page) == ["Interrupt", "Stop the reply", "Put into the queue"]
    thread.state.info.features.append("steer")
    assert labels(page) == ["Steer", "Interrupt", "Stop the reply", "Put into the queue"]
    assert page.find(id="message")[0].attributes["placeholder"] == "Write the next message …"


def test_what_can_be_done_otherwise(page: StillPage) -> None:
    page.show([turn()])
    assert labels(page) == ["Send"]
    assert "disabled" in page.find(aria_label="Send")[0].attributes
    page.chat.composer.write("a")
    assert "disabled" not in page.find(aria_label="Send")[0].attributes


def test_files_can_be_attached_where_the_service_takes_them(page: StillPage) -> None:
    assert not page.find(type="file")
    page.show([], features=("uploads",))
    (field,) = page.find(type="file")
    assert "multiple" in field.attributes


def test_only_a_choice_among_several_is_shown(page: StillPage) -> None:
    one, two = OptionChoice(value="a", name="A"), OptionChoice(value="b")
    page.chat.new_options = OptionList(
        options=[
            SessionOption(id="x", name="Model", current="b", choices=[one, two]),
            SessionOption(id="y", choices=[one]),
            SessionOption(id="z", current="gone", choices=[one, two]),
        ]
    )
    model, other = page.find(tag="select")
    assert (model.attributes["value"], model.attributes["title"]) == ("b", "Model")
    assert [text_of(each) for each in find(model, tag="option")] == ["A", "b"]
    assert other.attributes["value"] == ""
    assert [text_of(each) for each in find(other, tag="option")] == ["gone", "A", "b"]


@pytest.mark.parametrize(
    ("usage", "said"),
    [
        (UsageEvent(), []),
        (UsageEvent(context_used=900), ["900 tokens"]),
        (UsageEvent(context_used=12_345, context_size=200_000), ["12k of 200k tokens"]),
        (UsageEvent(cost=0.5), ["0.50 USD"]),
        (UsageEvent(context_used=2, cost=2, currency="EUR"), ["2 tokens · 2.00 EUR"]),
    ],
)
def test_what_is_used(page: StillPage, usage: UsageEvent, said: list[str]) -> None:
    page.show().state.usage = usage
    assert page.texts(class_="usage") == said


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (9_960, "10 kB"), (9_940, "9.9 kB"),
        (12_345, "12 kB"),
        (999_999, "1.0 MB"), (1_500_000, "1.5 MB"), (2_000_000_000, "2.0 GB"),
        (2_000_000_000_000, "2000 GB"),
    ],
)  # fmt: skip
def test_sizes(size: int, said: str) -> None:
    assert size_of(size) == said


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.0k"),
        (9_990, "10k"),
        (123_456, "123k"),
        (1_200_000, "1.2M"),
    ],
)
def test_counts(count: int, said: str) -> None:
    assert count_of(count) == said
