"""What views return: elements as data."""

import pytest

from callboard_page.nodes import Element, Event, find, h, text_of


def test_an_attribute_is_named_as_in_a_document() -> None:
    made = h("label", class_="a b", for_="field", aria_label="Name", tabindex=0)
    assert made.attributes == {
        "class": "a b",
        "for": "field",
        "aria-label": "Name",
        "tabindex": "0",
    }


@pytest.mark.parametrize("value", [None, False])
def test_an_attribute_that_is_not_there_is_left_out(value: bool | None) -> None:
    assert h("p", disabled=value).attributes == {}


def test_an_attribute_that_is_true_or_empty_is_there() -> None:
    assert h("p", disabled=True, value="").attributes == {"disabled": "", "value": ""}


def test_children_are_flat_and_nothing_is_no_child() -> None:
    inner = h("b", "x")
    made = h("p", "a", None, "", ["b", [None, inner]], (child for child in "cd"))
    assert made.children == ("a", "b", inner, "c", "d")


def test_text_is_text_whatever_it_contains() -> None:
    made = h("p", "<script>alert(1)</script>")
    assert made.children == ("<script>alert(1)</script>",)
    assert text_of(made) == "<script>alert(1)</script>"


def test_text_of_several_levels() -> None:
    assert text_of(h("p", "a", h("b", "b", h("i", "c")), "d")) == "abcd"


def test_find_returns_all_that_match_in_their_order() -> None:
    one, two = h("p", class_="x y", id="1"), h("b", class_="x", id="2")
    tree = h("div", one, h("section", two), "text", class_="x")
    assert find(tree, class_="x") == [tree, one, two]
    assert find(tree, class_="x", tag="b") == [two]
    assert find(tree, id="1") == [one]
    assert find(tree, id="3") == []
    assert find("text", id="1") == []


def test_an_element_is_itself_alone() -> None:
    assert h("p") != h("p")
    assert isinstance(hash(h("p")), int)


def test_an_event_does_nothing_until_it_is_told_to() -> None:
    event = Event("click")
    event.prevent()
    assert event.plain
    assert not event.shift
    assert event.files == ()


def test_an_element_has_no_handlers_unless_it_is_given_some() -> None:
    handlers = {"click": lambda event: None}
    assert h("p").handlers == {}
    assert h("p", on=handlers).handlers is handlers
    assert isinstance(h("p", key="k"), Element)
    assert h("p", key="k").key == "k"
