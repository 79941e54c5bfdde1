"""What the page shows, as data: views return it, and `patch` brings the document to it.

No string becomes HTML anywhere: text is text, and elements are made one by one. The idea is the
virtual DOM of Elm and React.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias


class Given(Protocol):
    """A file that a person has dropped, pasted or chosen."""

    @property
    def name(self) -> str:
        """Its name, without a path; may be empty."""

    @property
    def media_type(self) -> str:
        """Its media type; may be empty."""

    @property
    def size(self) -> int:
        """Its bytes."""

    @property
    def read(self) -> Callable[[], Awaitable[bytes]]:
        """Returns its content."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event of the document. kind: "click", "keydown", ...

    value: of the field that it happened in. key: the key's name. plain: without Control, Alt or
    Meta. composing: an input method is at work, so the key is not the page's. prevent: keeps the
    browser from doing what it would do.
    """

    kind: str
    value: str = ""
    key: str = ""
    shift: bool = False
    plain: bool = True
    composing: bool = False
    files: tuple[Given, ...] = ()
    prevent: Callable[[], None] = field(default=lambda: None, repr=False)


Handler: TypeAlias = Callable[[Event], None]


@dataclass(frozen=True, slots=True, eq=False)
class Element:
    """An element. key: identifies it among its siblings, so that it keeps its state as they move.

    handlers: by the kind of event.
    """

    tag: str
    attributes: Mapping[str, str]
    children: tuple["Node", ...]
    handlers: Mapping[str, Handler]
    key: str = ""


Node: TypeAlias = Element | str

Child: TypeAlias = "Node | Iterable[Child] | None"
"""What `h` takes for children: nodes, None for nothing, or several in an iterable."""


def h(
    tag: str,
    *children: Child,
    key: str = "",
    on: Mapping[str, Handler] | None = None,
    **attributes: str | bool | int | None,
) -> Element:
    """Return an element with these children.

    attributes: `class_` and `for_` lose their last underscore, other underscores become hyphens
    (`aria_label`). True is an empty value; False and None leave the attribute out.
    """
    named = {
        name.rstrip("_").replace("_", "-"): "" if value is True else str(value)
        for name, value in attributes.items()
        if value is not None and value is not False
    }
    return Element(tag, named, tuple(_flat(children)), on or {}, key)


def _flat(children: Iterable[Child]) -> Iterable[Node]:
    for child in children:
        if child is None or child == "":
            continue
        if isinstance(child, str | Element):
            yield child
        else:
            yield from _flat(child)


def text_of(node: Node) -> str:
    """Return the text that a node shows."""
    if isinstance(node, str):
        return node
    return "".join(map(text_of, node.children))


def find(node: Node, **attributes: str) -> list[Element]:
    """Return the elements below `node`, itself included, that have all these attributes.

    `class_` matches one of the classes.
    """
    if isinstance(node, str):
        return []
    wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
    mine = [node] if all(_has(node, *pair) for pair in wanted.items()) else []
    return mine + [found for child in node.children for found in find(child, **attributes)]


def _has(element: Element, name: str, value: str) -> bool:
    if name == "tag":
        return element.tag == value
    given = element.attributes.get(name)
    if given is None:
        return False
    return value in given.split() if name == "class" else given == value
