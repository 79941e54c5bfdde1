"""Markdown as nodes: what it becomes, what it never becomes, and how long it takes."""

import random
from collections.abc import Iterator
from math import inf
from time import process_time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from callboard_page.nodes import Element, Event, Node, find, h, text_of
from callboard_page.text import highlight, markdown
from callboard_page.text.markdown import MAX_BLOCK, MAX_TEXT, MAX_UNFINISHED, Markdown

BUSY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(autouse=True, scope="module")
def unhurried() -> Iterator[None]:
    """Colour everything, however busy the machine is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(highlight, "SECONDS", inf)
        yield


def shown(text: str, *, final: bool = True) -> Element:
    """Return an element with the nodes of a text."""
    return h("div", Markdown(lambda _: None).nodes(text, final=final))


def plain(node: Node) -> object:
    """Return a node as data, without its handlers."""
    if isinstance(node, str):
        return node
    return (node.tag, dict(node.attributes), [plain(child) for child in node.children])


def tags(node: Node) -> set[str]:
    if isinstance(node, str):
        return set()
    return {node.tag}.union(*map(tags, node.children))


def depth(node: Node) -> int:
    return 0 if isinstance(node, str) else 1 + max(map(depth, node.children), default=0)


# -- what it becomes -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a *b* **c** ~~d~~ `e`", "p:a em:b strong:c s:d code:e"),
        ("# one\n\n## two\n\n###### six", "h3:one h4:two h6:six"),
        ("- a\n- b", "ul li:a li:b"),
        ("3. a\n4. b", "ol li:a li:b"),
        ("> a", "blockquote p:a"),
        ("|a|b|\n|-|-|\n|1|2|", "div table thead tr th:a th:b tbody tr td:1 td:2"),
        ("a\nb", "p:a"),
        ("a  \nb", "p:a br"),
        ("a\n\n---\n\nb", "p:a hr p:b"),
        ("&lt;b&gt; &amp;", "p:<b> &"),
        ("\\*a\\*", "p:*a*"),
        ("a\\\nb", "p:a br"),
    ],
)
def test_what_a_text_becomes(text: str, expected: str) -> None:
    def outline(node: Element) -> list[str]:
        first = node.children[0] if node.children and isinstance(node.children[0], str) else ""
        name = f"{node.tag}:{first.strip()}" if first.strip() else node.tag
        below = (outline(child) for child in node.children if isinstance(child, Element))
        return [name, *(line for lines in below for line in lines)]

    assert " ".join(outline(shown(text))[1:]) == expected


def test_an_ordered_list_keeps_its_first_number() -> None:
    assert find(shown("3. a"), tag="ol")[0].attributes == {"start": "3"}
    assert find(shown("1. a"), tag="ol")[0].attributes == {}


def test_a_block_of_code_has_its_language_its_colours_and_a_button() -> None:
    copied: list[str] = []
    (block,) = Markdown(copied.append).nodes("```python\nx = 1\n```", final=True)
    assert isinstance(block, Element)
    assert text_of(find(block, class_="language")[0]) == "python"
    assert text_of(find(block, tag="code")[0]) == "x = 1"
    assert find(block, tag="span", class_="mi")
    find(block, class_="copy")[0].handlers["click"](Event("click"))
    assert copied == ["x = 1\n"]


def test_what_scrolls_takes_the_focus() -> None:
    assert find(shown("    code"), tag="pre")[0].attributes["tabindex"] == "0"
    table = find(shown("|a|\n|-|\n|b|"), class_="table")[0]
    assert table.attributes["tabindex"] == "0"


def test_a_link_opens_elsewhere_and_tells_nothing() -> None:
    (link,) = find(shown("[a *b*](https://x.example/?q=1)"), tag="a")
    assert text_of(link) == "a b"
    assert link.attributes == {
        "href": "https://x.example/?q=1",
        "target": "_blank",
        "rel": "noopener noreferrer",
    }


# -- what it never becomes -------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        "javascript:alert(1)", "JaVaScRiPt:alert(1)", "javascript&colon;alert(1)",
        "java&#9;script:alert(1)", "&#1;javascript:alert(1)", "%6Aavascript:alert(1)",
        "javascript&#58;alert(1)", "data:text/html,<script>alert(1)</script>",
        "data:image/png;base64,AAAA", "vbscript:msgbox(1)", "file:///etc/passwd", "blob:https://x/1",
        "//elsewhere.example", "/board", "#token=x", "relative", "ws://x.example", "about:blank",
        "view-source:https://x.example", "https&#58//x", "http//x", "http\\:x", "", "[::1",
        "//[::1", ":https://x", " javascript:alert(1)", "chrome:crash",
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["[a]({})", "![a]({})", "<{}>", "[a]\n\n[a]: {}", "[a](<{}>)"])
def test_only_the_web_and_mail_are_linked(form: str, target: str) -> None:
    assert not find(shown(form.replace("{}", target)), tag="a")


@pytest.mark.parametrize(
    "target", ["http://x.example", "HTTPS://x.example/a?b#c", "mailto:a@b.example"]
)
@pytest.mark.parametrize("form", ["[a]({})", "![a]({})", "<{}>", "[a](<{}>)"])
def test_the_web_and_mail_are_linked(form: str, target: str) -> None:
    assert len(find(shown(form.replace("{}", target)), tag="a")) == 1


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "a <b onclick='x'>c</b>",
        "<!-- a -->\n\n<![CDATA[x]]>",
        "<svg><script>1</script></svg>",
        "<style>*{display:none}</style>",
    ],
)
def test_html_stays_the_text_that_it_is(text: str) -> None:
    assert text_of(shown(text)) == text.replace("\n\n", "")
    assert tags(shown(text)) <= {"div", "p"}


def test_an_image_is_a_link_to_it_and_loads_nothing() -> None:
    node = shown("![a **b**](https://x.example/i.png) and ![](https://x.example)")
    assert [text_of(link) for link in find(node, tag="a")] == ["a **b**", "image"]
    assert "img" not in tags(node)


def test_an_image_in_a_link_is_only_its_name() -> None:
    node = shown("[![build](https://x.example/i.png) it](https://y.example)")
    (link,) = find(node, tag="a")
    assert link.attributes["href"] == "https://y.example"
    assert text_of(link) == "build it"


TAGS = {
    "div", "p", "em", "strong", "s", "code", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote",
    "table", "thead", "tbody", "tr", "th", "td", "br", "hr", "a", "span", "pre", "button",
}  # fmt: skip
ATTRIBUTES = {"class", "href", "target", "rel", "start", "tabindex", "type"}

PIECES = st.sampled_from(
    [
        "a", "bc ", "1", " ", "  ", "    ", "\t", "\n", "\n\n", "\r\n", "#", "# ", "-", "- ", "* ",
        "*", "**", "_", "~~", "`", "```", "```py\n", "> ", ">", "1. ", "2", ".", "|", "|-|-|\n",
        "---", "===", "\\", "<", ">", "&", "&lt;", "](", "[", "]", ")", "!", "(https://x.example)",
        "(javascript:x)", "<script>", "</div>", "onclick=", ":", "é", "\0", "(", "+ ", "~~~\n",
    ]
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=40).map("".join)


@BUSY
@given(TEXTS)
def test_no_text_becomes_anything_else(text: str) -> None:
    def check(node: Node) -> None:
        if isinstance(node, Element):
            assert node.tag in TAGS
            assert set(node.attributes) <= ATTRIBUTES
            assert node.attributes.get("href", "https:").startswith(("https:", "mailto:"))
            for child in node.children:
                check(child)

    check(shown(text))


# -- in pieces -------------------------------------------------------------------------------


@settings(BUSY, max_examples=200)
@given(st.lists(PIECES, max_size=40), st.randoms(use_true_random=False))
def test_a_text_in_pieces_becomes_what_it_becomes_at_once(
    pieces: list[str], rng: random.Random
) -> None:
    text = "".join(pieces).replace("]:", "]")  # no definitions of links
    growing = Markdown(lambda _: None)
    place = 0
    while place < len(text):
        place += rng.randint(1, 4)
        growing.nodes(text[:place], final=False)
    assert list(map(plain, growing.nodes(text, final=True))) == [
        plain(child) for child in shown(text).children
    ]


@pytest.mark.parametrize(
    "text",
    [
        "text\n#tag", "text\n***bold***", "1. a\n\n2. b\n\n3. c", "text\n```a``` b",
        "text\n|a|b|\n|-|-|-|", "- a\n\n- b\n\n  c", "a\n\n---b", "* a\n\n**b**",
    ],
)  # fmt: skip
def test_a_line_that_turns_out_to_be_something_else(text: str) -> None:
    growing = Markdown(lambda _: None)
    for place in range(len(text)):
        growing.nodes(text[:place], final=False)
    assert list(map(plain, growing.nodes(text, final=True))) == [
        plain(child) for child in shown(text).children
    ]


def test_what_has_ended_keeps_its_nodes() -> None:
    growing = Markdown(lambda _: None)
    first = growing.nodes("# a\n\nb\n\n- c", final=False)
    second = growing.nodes("# a\n\nb\n\n- c\n- d", final=False)
    assert first[0] is second[0]
    assert second is growing.nodes("# a\n\nb\n\n- c\n- d", final=False)


def test_a_text_that_is_cut_back_is_made_anew() -> None:
    growing = Markdown(lambda _: None)
    growing.nodes("# a\n\nb\n\nc", final=False)
    assert text_of(h("div", growing.nodes("# a", final=False))) == "a"
    assert text_of(h("div", growing.nodes("x", final=True))) == "x"
    assert text_of(h("div", growing.nodes("xy", final=False))) == "xy"
    assert growing.nodes("", final=True) == ()


@BUSY
@given(st.text("ab \n>-*_#12.\t", max_size=60))
def test_no_letter_is_lost(text: str) -> None:
    for final in (True, False):
        letters = [letter for letter in text_of(shown(text, final=final)) if letter in "ab"]
        assert letters == [letter for letter in text if letter in "ab"]


# -- bounds ----------------------------------------------------------------------------------


def test_a_long_block_that_grows_is_plain_until_it_has_ended() -> None:
    text = "*a* " * (MAX_UNFINISHED // 4 + 1)
    growing = Markdown(lambda _: None)
    (node,) = growing.nodes(text, final=False)
    assert isinstance(node, Element)
    assert (node.attributes, text_of(node)) == ({"class": "plain"}, text)
    (node,) = growing.nodes(text + "b", final=False)
    assert text_of(node) == text + "b"
    for more in range(MAX_UNFINISHED // 16):
        growing.nodes(text + "\n\n" + "b" * more, final=False)
    nodes = growing.nodes(text + "\n\nb", final=False)
    assert len(find(h("div", nodes), tag="em")) == MAX_UNFINISHED // 4 + 1


def test_long_code_that_grows_is_code_without_colours() -> None:
    text = "```python\n" + "x = 1\n" * 500
    growing = Markdown(lambda _: None)
    for more in ("", "y", "y = ", "y = 2\n", "y = 2\n" * 200, "y = 2\n" * 200 + "z"):
        (node,) = growing.nodes(text + more, final=False)
        assert isinstance(node, Element)
        code = find(node, tag="code")[0]
        assert text_of(code) == (text + more).removeprefix("```python\n").rstrip("\n")
        assert not find(code, tag="span")
    nodes = growing.nodes(text + "```\n\nafter", final=False)
    assert [plain(each) for each in nodes[1:]] == [("p", {}, ["after"])]
    assert find(nodes[0], tag="span", class_="mi")


def test_a_very_long_block_stays_plain() -> None:
    text = "*a* " * (MAX_BLOCK // 4 + 1)
    (node,) = shown(text + "\n\n").children
    assert plain(node) == ("p", {"class": "plain"}, [text])
    code = "x = 1\n" * (MAX_BLOCK // 4)
    (node,) = shown(f"```python\n{code}```").children
    assert find(node, tag="code")[0].children == (code.rstrip("\n"),)


def test_what_is_beyond_the_longest_text_is_plain() -> None:
    line = "*a*\n\n"
    text = line * (MAX_TEXT // len(line) // 50) + "x " * MAX_TEXT + "*b*"
    node = shown(text)
    assert text_of(node.children[-1]).endswith("x *b*")
    assert text_of(node).replace("\n", "") == text.replace("*a*", "a").replace("\n", "")
    growing = Markdown(lambda _: None)
    for place in range(0, len(text), 30_000):
        growing.nodes(text[:place], final=False)
    assert list(map(plain, growing.nodes(text, final=True))) == list(map(plain, node.children))


@pytest.mark.parametrize(
    "text", ["> " * 25 + "inside", "- " * 25 + "inside", "> - " * 12 + "1. inside"]
)
def test_what_is_nested_too_deep_is_shown_as_it_is_written(text: str) -> None:
    assert "inside" in text_of(shown(text))
    assert "inside" in text_of(shown(text, final=False))


@pytest.mark.parametrize(
    "text",
    [
        ">" * 10_000, "> " * 10_000, "[" * 10_000, "![" * 5_000, "[x](" * 4_000, "]" * 10_000,
        "*" * 10_000, "*a " * 5_000, "*a **b " * 2_000 + "c** d* " * 2_000, "_a " * 5_000,
        "*a" * 4_000 + "a*" * 4_000, "~~a" * 3_000 + "a~~" * 3_000, "`" * 10_000, "` " * 5_000,
        "".join("`" * n + " " for n in range(140)), "<" * 10_000, "<a" * 5_000, "&" * 10_000,
        "\\" * 10_000, "[a" * 4_000 + "]" * 4_000, "[a](b" * 3_000, "- " * 5_000, "1. " * 5_000,
        "".join("  " * n + "- x\n" for n in range(140)), "|a" * 4_000 + "\n" + "|-" * 4_000,
        "- a\n" * 2_000, "a\n\n" * 2_000, "[a]: b\n" * 2_000, "a\n" * 8_000, "> a\n\n" * 1_500,
        "#" * 10_000, "\0" * 10_000, "http://" * 2_000, "<http://" * 2_000, "```\n" * 3_000,
    ],
    ids=lambda text: f"{text[:8]!r} {len(text)}",
)  # fmt: skip
@pytest.mark.parametrize("final", [True, False])
def test_hostile_text_is_shown_in_time(text: str, final: bool) -> None:
    start = process_time()
    node = shown(text, final=final)
    assert process_time() - start < 8  # of the processor; a tenth of that on a quiet machine
    assert depth(node) < 60
    assert text_of(node) is not None


def test_a_list_that_grows_takes_time_linear_in_its_length(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parsed = 0
    blocks, split = markdown._BLOCK_PARSER, markdown._BLOCK_PARSER.parse

    def parse(text: str) -> object:
        nonlocal parsed
        parsed += len(text)
        return split(text)

    monkeypatch.setattr(blocks, "parse", parse)
    growing = Markdown(lambda _: None)
    text = "- an item\n" * 1_000
    for place in range(0, len(text), 50):
        growing.nodes(text[:place], final=False)
    # A text of up to MAX_UNFINISHED is parsed with each piece, then for each quarter.
    assert parsed < 50 * MAX_UNFINISHED + 12 * len(text)
