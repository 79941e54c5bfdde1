"""The document becomes what is shown, with as few changes as are needed."""

from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from callboard_page.nodes import Element, Event, Handler, Node, h
from callboard_page.patch import HANDLES, SVG, Patcher
from tests.support.fake_document import (
    FakeDocument,
    FakeNode,
    expected,
    expected_handlers,
    handlers,
    read,
)

BUSY = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
"""For a busy machine."""

KINDS = ("click", "input")


def handler() -> Handler:
    def happened(event: Event) -> None: ...

    return happened


def shown(*nodes: Node) -> tuple[FakeDocument, Patcher]:
    """Return a document that has shown these nodes one after the other."""
    document = FakeDocument()
    patcher = Patcher(document, document.root)
    for node in nodes:
        document.forget()
        patcher.show(node)
    return document, patcher


def row(*keys: str) -> Element:
    return h("ul", [h("li", key, key=key) for key in keys])


# -- examples --------------------------------------------------------------------------------


def test_the_first_node_is_made_one_by_one() -> None:
    document, _ = shown(h("p", "a", h("b", "c", title="t")))
    assert read(document.root) == (
        "root",
        {},
        {},
        [("p", {}, {}, ["a", ("b", {"title": "t"}, {}, ["c"])])],
    )
    assert document.names.count("element") == 2


def test_the_same_object_costs_nothing() -> None:
    node = h("p", "a", h("input", value="x", on={"input": handler()}))
    document, _ = shown(node, node)
    assert document.operations == []


def test_what_a_person_typed_is_overwritten_only_by_what_is_drawn_anew() -> None:
    document, patcher = shown(h("p", h("input", value="a")))
    field = document.root.find(tag="input")[0]
    field.shown["value"] = "typed"
    patcher.show(h("p", h("input", value="typed")))
    assert document.names.count("set_property") == 1  # the first one: the cursor stays
    patcher.show(h("p", h("input", value="")))
    assert field.shown["value"] == ""


def test_a_property_that_is_left_out_is_off() -> None:
    document, patcher = shown(h("p", h("input", checked=True, value="a"), h("details", open=True)))
    patcher.show(h("p", h("input"), h("details")))
    field, details = document.root.find(tag="input")[0], document.root.find(tag="details")[0]
    assert field.shown == {"checked": False, "value": ""}
    assert details.shown == {"open": False}


def test_a_select_gets_its_value_after_its_options() -> None:
    document, _ = shown(h("select", h("option", "b", value="b"), value="b"))
    select = document.root.children[0]
    names = [(one.name, one.node is select) for one in document.operations]
    assert names.index(("set_property", True)) > names.index(("set_property", False))


def test_an_icon_is_made_in_the_namespace_of_svg() -> None:
    document, _ = shown(h("svg", h("path", d="M0 0"), viewBox="0 0 1 1"))
    assert {node.namespace for node in document.root.find(tag="path")} == {SVG}


def test_a_text_that_changes_stays_the_same_node() -> None:
    document, patcher = shown(h("p", "a"))
    text = document.root.children[0].children[0]
    patcher.show(h("p", "ab"))
    assert document.root.children[0].children == [text]
    assert text.text == "ab"


def test_a_text_as_the_whole_page() -> None:
    document, patcher = shown("a", "b")
    assert document.names == ["set_text"]
    patcher.show(h("p"))
    assert expected(h("p")) == read(document.root.children[0])
    patcher.show("c")
    assert [child.text for child in document.root.children] == ["c"]


def test_another_key_is_another_element() -> None:
    document, _ = shown(h("p", key="a", on={"click": handler()}), h("p", key="b"))
    assert "remove" in document.names
    assert len(document.root.children) == 1


def test_one_key_with_another_tag_is_another_element() -> None:
    document, _ = shown(h("div", h("p", "x", key="a")), h("div", h("b", "x", key="a")))
    assert read(document.root.children[0]) == expected(h("div", h("b", "x")))


def test_two_children_with_one_key_are_both_shown() -> None:
    twice = h("div", h("p", "1", key="a"), h("p", "2", key="a"))
    document, patcher = shown(twice)
    patcher.show(h("div", h("p", "3", key="a"), h("p", "4", key="a"), h("p", "5", key="a")))
    texts = [child.children[0].text for child in document.root.children[0].children]
    assert texts == ["3", "4", "5"]
    patcher.show(h("div"))
    assert document.root.children[0].children == []


def test_something_new_before_children_without_keys_leaves_them_alone() -> None:
    first, second = h("p", "1"), h("p", "2")
    document, _ = shown(h("div", first, second), h("div", h("h2", "new"), first, second))
    assert document.names == ["element", "text", "insert", "insert"]


# -- moves -----------------------------------------------------------------------------------


def moves(before: Sequence[str], after: Sequence[str]) -> int:
    document, _ = shown(row(*before), row(*after))
    assert set(document.names) <= {"insert"}
    return len(document.operations)


def test_one_that_comes_to_the_front_is_moved_alone() -> None:
    assert moves("abcde", "eabcd") == 1


def test_one_that_goes_to_the_end_is_moved_alone() -> None:
    assert moves("abcde", "bcdea") == 1


def test_neighbours_that_change_places_are_one_move() -> None:
    assert moves("abcde", "abdce") == 1


def test_no_other_order_takes_fewer_moves_than_reversing() -> None:
    assert moves("abcde", "edcba") == 4


@BUSY
@given(st.permutations("abcdefgh"))
def test_as_few_are_moved_as_can_be(order: list[str]) -> None:
    keeps = max(
        len(kept)
        for subset in range(1, 256)
        if (kept := [key for bit, key in enumerate(order) if subset >> bit & 1]) == sorted(kept)
    )
    assert moves("abcdefgh", order) == 8 - keeps


# -- handlers --------------------------------------------------------------------------------


def test_a_handler_is_found_by_the_elements_number() -> None:
    one, two = handler(), handler()
    document, patcher = shown(h("p", on={"click": one}), h("p", on={"click": two}))
    number = document.root.children[0].attributes[HANDLES]
    assert patcher.handler(number, "click") is two
    assert patcher.handler(number, "input") is None
    assert patcher.handler(None, "click") is None
    assert patcher.handler("999", "click") is None
    assert document.operations == []  # other handlers are no change of the document


def test_an_element_without_handlers_has_no_number_any_more() -> None:
    document, patcher = shown(h("p", on={"click": handler()}), h("p"))
    assert document.names == ["remove_attribute"]
    assert patcher._handlers == {}


# -- any two trees ---------------------------------------------------------------------------

TEXTS = st.sampled_from(["a", "b", "<b>c</b>", "&amp;"])
ATTRIBUTES = st.dictionaries(st.sampled_from(["class_", "title", "aria_label"]), TEXTS, max_size=2)
SHOWN: st.SearchStrategy[dict[str, str | bool]] = st.fixed_dictionaries(
    {}, optional={"value": st.sampled_from(["", "v", "w"]), "checked": st.just(True)}
)
HANDLERS = st.sets(st.sampled_from(KINDS)).map(lambda kinds: {kind: handler() for kind in kinds})


def identity(node: Node) -> object:
    """Return a key, or what no other node has."""
    return node.key if isinstance(node, Element) and node.key else object()


@st.composite
def elements(draw: st.DrawFn, children: st.SearchStrategy[Node]) -> Element:
    return h(
        draw(st.sampled_from(["div", "p", "svg"])),
        draw(st.lists(children, max_size=5, unique_by=identity)),
        key=draw(st.sampled_from(["", "", "a", "b", "c", "d"])),
        on=draw(HANDLERS),
        **draw(ATTRIBUTES),
        **draw(SHOWN),
    )


NODES: st.SearchStrategy[Node] = st.recursive(TEXTS, elements, max_leaves=20)


@st.composite
def changed(draw: st.DrawFn, node: Node) -> Node:
    """Draw a node that has much in common with this one: other children, in another order."""
    if isinstance(node, str):
        return draw(TEXTS)
    children = (
        list(draw(st.permutations(node.children))) if draw(st.booleans()) else [*node.children]
    )
    made: list[Node] = []
    for child in children:
        match draw(st.sampled_from(["keep", "keep", "change", "drop", "precede"])):
            case "keep":
                made.append(child)
            case "change":
                made.append(draw(changed(child)))
            case "precede":
                made += [draw(NODES), child]
            case _:
                pass
    other = draw(elements(TEXTS))
    kept = draw(st.booleans())
    return Element(
        node.tag if kept else other.tag,
        draw(st.sampled_from([node.attributes, other.attributes])),
        tuple(made),
        draw(st.sampled_from([node.handlers, other.handlers])),
        node.key if kept else other.key,
    )


def pairs() -> st.SearchStrategy[tuple[Node, Node]]:
    like = NODES.flatmap(lambda node: st.tuples(st.just(node), changed(node)))
    return like | st.tuples(NODES, NODES)


def copied(node: Node) -> Node:
    """Return an equal tree of other objects, with the same handlers."""
    if isinstance(node, str):
        return "".join(list(node))
    children = tuple(map(copied, node.children))
    return Element(node.tag, dict(node.attributes), children, node.handlers, node.key)


def count(node: Node) -> int:
    """Return how many elements of a tree have handlers."""
    if isinstance(node, str):
        return 0
    return bool(node.handlers) + sum(map(count, node.children))


@BUSY
@given(pairs())
def test_the_document_is_what_was_shown_last(pair: tuple[Node, Node]) -> None:
    before, after = pair
    document, patcher = shown(before)
    for node in (after, before, after):
        patcher.show(node)
        assert [read(child) for child in document.root.children] == [expected(node)]
        (root,) = document.root.children
        assert handlers(patcher, root, KINDS) == expected_handlers(node, KINDS)
        assert len(patcher._handlers) == count(node)  # none is kept for what is gone


@BUSY
@given(NODES)
def test_an_equal_tree_changes_nothing(node: Node) -> None:
    document, _ = shown(node, copied(node))
    assert document.operations == []


def below(node: FakeNode) -> list[FakeNode]:
    return [node, *(found for child in node.children for found in below(child))]


@BUSY
@given(NODES, st.lists(NODES, max_size=3), st.lists(NODES, max_size=3))
def test_an_object_that_is_shown_again_is_not_touched(
    inner: Node, before: list[Node], after: list[Node]
) -> None:
    kept = h("section", inner, key="kept")
    document, patcher = shown(h("div", before, kept))
    (section,) = document.root.find(tag="section")
    untouched = set(map(id, below(section)))
    document.forget()
    patcher.show(h("div", kept, after))
    touched = [one for one in document.operations if id(one.node) in untouched]
    assert [(one.name, one.node) for one in touched] in ([], [("insert", section)])
