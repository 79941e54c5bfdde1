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

MAX_TEXT: Final = 100_000
"""Characters of a text. What is beyond is plain text: parsing it would hold up the page."""

MAX_DEPTH: Final = 19
"""Levels of quotes and lists, or of emphasis. A block with more stays plain text: the parser would
leave out what is inside, and Python's stack has an end."""

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
        self._long = _Long("", copy)
        self._nodes: tuple[Node, ...] = ()

    def nodes(self, text: str, *, final: bool) -> tuple[Node, ...]:
        """Return the nodes of `text`. final: nothing follows."""
        if text == self._text and final == self._final:
            return self._nodes
        if self._final or not text.startswith(self._text[: self._settled_characters]):
            self._settled, self._settled_characters = [], 0
        self._text, self._final = text, final
        whole = len(text) <= MAX_TEXT
        end = len(text) if whole else _line_end(text, MAX_TEXT)
        growing = self._settle(text[self._settled_characters : end], final=final or not whole)
        rest = [] if whole else _plain(text[end:])
        self._nodes = (*self._settled, *self._growing(growing), *rest)
        return self._nodes

    def _settle(self, text: str, *, final: bool) -> str:
        """Make nodes of the blocks that have ended; return what still grows."""
        if final:
            blocks, growing = _blocks(text), ""
        elif self._long.has_grown_little(text):
            return text
        else:
            # A line that has not ended can still become something else: `#tag` begins as a heading.
            # But one that begins with a letter is text.
            end = text.rfind("\n") + 1
            if text[end:].lstrip(" ")[:1].isalpha():
                end = len(text)
            blocks = _blocks(text[:end])
            growing = (blocks.pop() if blocks else "") + text[end:]
        for source in blocks:
            self._settled += _rendered(source, self._copy)
            self._settled_characters += len(source)
        return growing

    def _growing(self, source: str) -> Sequence[Node]:
        if len(source) <= MAX_UNFINISHED:
            return _rendered(source, self._copy, growing=True)
        if not self._long.has_grown_little(source):
            self._long = _Long(source, self._copy)
        return self._long.nodes(source)


class _Long:
    """A long block that grows, as it was when it was last parsed.

    That is when it has grown by a quarter, or by a 16th with an empty line, where it may end: all
    in all, parsing takes time linear in its length.
    """

    def __init__(self, source: str, copy: Copy) -> None:
        self._source = source
        self._copy = copy
        tokens = _BLOCK_PARSER.parse(source)
        self._code = tokens[0] if len(tokens) == 1 and tokens[0].type in _CODE else None

    def has_grown_little(self, text: str) -> bool:
        """Return whether `text` is this block and so little more that it is not parsed yet."""
        length = len(self._source)
        if not length or not text.startswith(self._source):
            return False
        part = 16 if "\n\n" in text[length - 1 :] else 4
        return (len(text) - length) * part < length

    def nodes(self, text: str) -> list[Node]:
        """Return the nodes of this block as far as it has grown."""
        if self._code is None:
            return _plain(text)
        code = self._code.content
        if not self._source.endswith("\n"):
            code = code.removesuffix("\n")
        code += text[len(self._source) :]
        return [code_block(code, _language(self._code), self._copy, colours=False)]


def _line_end(text: str, most: int) -> int:
    """Return where the last line ends that ends within the first `most` characters, or `most`."""
    return text.rfind("\n", 0, most) + 1 or most


def _plain(source: str) -> list[Node]:
    shown = source.strip("\n")
    return [h("p", shown, class_="plain")] if shown else []


def _rendered(source: str, copy: Copy, *, growing: bool = False) -> list[Node]:
    """Return the nodes of one block; of one that is too long or too deep, plain text."""
    if not source.strip():
        return []
    if len(source) > MAX_BLOCK:
        tokens = _BLOCK_PARSER.parse(source)
        if len(tokens) == 1 and tokens[0].type in _CODE:
            return [code_block(tokens[0].content, _language(tokens[0]), copy, colours=False)]
        return _plain(source)
    tokens = _PARSER.parse(source)
    if any(_depth(each) >= MAX_DEPTH for each in tokens):
        return _plain(source)
    return _Renderer(copy, colours=not growing).blocks(tokens)


def _depth(token: Token) -> int:
    """Return how deep a token is in others, or what is in it."""
    inside = (child.level for child in token.children or ())
    return token.level if token.nesting > 0 else max(inside, default=0)


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
            elif token.type == "image":
                # A link in a link would be none.
                linked = any(each is not None and each.type == "link_open" for each, _ in stack)
                stack[-1][1].append(_image(token, linked=linked))
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


def _image(token: Token, *, linked: bool) -> Node:
    """Return what is shown of an image: a link to it, or only its name where a link is already."""
    name = token.content or "image"
    return name if linked else _link(str(token.attrGet("src") or ""), [name])


def _link(target: str, children: list[Node]) -> Node:
    """Return a link that opens elsewhere; one that is not to the web or a mailbox is only text."""
    try:
        parts = urlsplit(target)
    except ValueError:
        return h("span", children)
    # A browser takes `http:x` for a path of the page's own site.
    if parts.scheme not in _SCHEMES or not (parts.netloc or parts.scheme == "mailto"):
        return h("span", children)
    return h("a", children, href=target, target="_blank", rel="noopener noreferrer")


def _language(token: Token) -> str:
    return token.info.split(maxsplit=1)[0] if token.info.strip() else ""
