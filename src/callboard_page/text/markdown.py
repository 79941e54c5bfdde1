"""Markdown as nodes: markdown-it-py's tokens become elements, and never a string of HTML.

HTML in the text is shown as it is written. An image becomes a link: the page loads nothing from
elsewhere.
"""

import re
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token

from callboard_page.nodes import Element, Event, Node, h
from callboard_page.text.highlight import highlighted

MAX_UNFINISHED: Final = 2_000
"""Characters of a block that still grows. A longer one is plain text until it has ended, because
all of it would be parsed again for each token."""

MAX_BLOCK: Final = 20_000
"""Characters of a paragraph, list or table. A longer one stays plain text."""

_SCHEMES: Final = frozenset({"http", "https", "mailto"})

_PARSER: Final = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
_BLOCK_PARSER: Final = MarkdownIt("commonmark", {"html": False}).enable("table").disable("inline")

_LINE: Final = re.compile(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+")
"""A line as Markdown counts lines, with its end."""

_CODE: Final = frozenset({"fence", "code_block"})

Copy: TypeAlias = Callable[[str], None]
"""Copies a text to the clipboard."""


class Markdown:
    """A text that grows. A block that can no longer change is made into nodes once.

    Each block is parsed alone, so a link cannot refer to a definition in another block.
    """

    def __init__(self, copy: Copy) -> None:
        self._copy = copy
        self._text = ""
        self._final = False
        self._settled: list[Node] = []
        self._settled_characters = 0
        self._nodes: tuple[Node, ...] = ()

    def nodes(self, text: str, *, final: bool) -> tuple[Node, ...]:
        """Return the nodes of `text`. final: nothing follows."""
        if text == self._text and final == self._final:
            return self._nodes
        if self._final or not text.startswith(self._text[: self._settled_characters]):
            self._settled, self._settled_characters = [], 0
        self._text, self._final = text, final
        blocks = _blocks(text[self._settled_characters :])
        growing = blocks.pop() if blocks and not final else ""
        for source in blocks:
            self._settled += self._rendered(source, MAX_BLOCK)
            self._settled_characters += len(source)
        self._nodes = (*self._settled, *self._rendered(growing, MAX_UNFINISHED, growing=True))
        return self._nodes

    def _rendered(self, source: str, most: int, *, growing: bool = False) -> list[Node]:
        """Return the nodes of one block; of one of more than `most` characters, plain text."""
        if not source.strip():
            return []
        if len(source) <= most:
            return _Renderer(self._copy, colours=not growing).blocks(_PARSER.parse(source))
        tokens = _BLOCK_PARSER.parse(source)
        if len(tokens) == 1 and tokens[0].type in _CODE:
            return [code_block(tokens[0].content, _language(tokens[0]), self._copy, colours=False)]
        return [h("p", source.strip("\n"), class_="plain")]


def _blocks(text: str) -> list[str]:
    """Return the text of each block at the top, in order; together they are `text`."""
    lines = _LINE.findall(text)
    starts = [
        token.map[0]
        for token in _BLOCK_PARSER.parse(text)
        if token.level == 0 and token.map is not None and token.nesting >= 0
    ]
    ends = [*starts[1:], len(lines)]
    starts[:1] = [0]
    return ["".join(lines[start:end]) for start, end in zip(starts, ends, strict=False)]


def code_block(code: str, language: str, copy: Copy, *, colours: bool = True) -> Element:
    """Return a block of code with a button that copies it."""

    def copied(_: Event) -> None:
        copy(code)

    button = h("button", "Copy", type="button", class_="quiet copy", on={"click": copied})
    shown = highlighted(code.rstrip("\n"), language) if colours else [code.rstrip("\n")]
    return h(
        "div",
        h("div", h("span", language or "text", class_="language"), button, class_="code-head"),
        # A region that scrolls needs the focus, so that keys scroll it.
        h("pre", h("code", shown), tabindex=0),
        class_="code",
    )


class _Renderer:
    """Makes tokens into nodes."""

    def __init__(self, copy: Copy, *, colours: bool) -> None:
        self._copy = copy
        self._colours = colours

    def blocks(self, tokens: Sequence[Token]) -> list[Node]:
        """Return the nodes of blocks."""
        stack: list[tuple[Token | None, list[Node]]] = [(None, [])]
        for token in tokens:
            if token.nesting > 0:
                stack.append((token, []))
            elif token.nesting < 0:
                opened, children = stack.pop()
                stack[-1][1].extend(_closed(opened, children))
            else:
                stack[-1][1].extend(self._single(token))
        return stack[0][1]

    def _single(self, token: Token) -> list[Node]:
        if token.type in _CODE:
            code = code_block(token.content, _language(token), self._copy, colours=self._colours)
            return [code]
        match token.type:
            case "inline":
                return self.blocks(token.children or [])
            case "text" | "html_inline":
                return [token.content]
            case "code_inline":
                return [h("code", token.content)]
            case "softbreak":
                return ["\n"]
            case "hardbreak":
                return [h("br")]
            case "hr":
                return [h("hr")]
            case "image":
                return [_link(str(token.attrGet("src") or ""), [token.content or "image"])]
            case _:
                return [token.content]


def _closed(token: Token | None, children: list[Node]) -> list[Node]:
    """Return the element that has been closed."""
    assert token is not None
    match token.type:
        case "paragraph_open":
            return children if token.hidden else [h("p", children)]
        case "heading_open":
            # The page's own headings are the first two levels.
            return [h(f"h{min(int(token.tag[1]) + 2, 6)}", children)]
        case "link_open":
            return [_link(str(token.attrGet("href") or ""), children)]
        case "ordered_list_open":
            start = token.attrGet("start")
            return [h("ol", children, start=None if start is None else str(start))]
        case "table_open":
            return [h("div", h("table", children), class_="table", tabindex=0)]
        case _:
            return [h(token.tag, children)]


def _link(target: str, children: list[Node]) -> Node:
    """Return a link that opens elsewhere; one that is not to the web or a mailbox is only text."""
    try:
        scheme = urlsplit(target).scheme.lower()
    except ValueError:
        scheme = ""
    if scheme not in _SCHEMES:
        return h("span", children)
    return h("a", children, href=target, target="_blank", rel="noopener noreferrer")


def _language(token: Token) -> str:
    return token.info.split(maxsplit=1)[0] if token.info.strip() else ""
