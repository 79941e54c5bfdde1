"""Brings a document to what the page shows, with as few changes as are needed."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import lt
from typing import Final, Protocol

from callboard_page.nodes import Element, Handler, Node

HANDLES: Final = "data-h"
"""The attribute with the number of an element's handlers."""

SVG: Final = "http://www.w3.org/2000/svg"

_SVG_TAGS: Final = frozenset({"svg", "g", "path", "circle", "rect", "line", "polyline", "text"})

PROPERTIES: Final = frozenset({"value", "checked", "selected", "open"})
"""Attributes that a person changes too, so that only the property says what is shown."""

_BOOLEAN: Final = PROPERTIES - {"value"}


class DomNode(Protocol):
    """A node of the document."""


class Document(Protocol):
    """The document's nodes, made and changed one at a time."""

    def element(self, tag: str, namespace: str = "") -> DomNode:
        """Return a new element."""

    def text(self, text: str) -> DomNode:
        """Return a new text node."""

    def set_text(self, node: DomNode, text: str) -> None:
        """Change a text node."""

    def set_attribute(self, node: DomNode, name: str, value: str) -> None:
        """Set an attribute."""

    def remove_attribute(self, node: DomNode, name: str) -> None:
        """Remove an attribute."""

    def set_property(self, node: DomNode, name: str, value: str | bool) -> None:
        """Set a property, if it has another value."""

    def insert(self, parent: DomNode, node: DomNode, before: DomNode | None) -> None:
        """Put a node into `parent`, before another one or at the end."""

    def remove(self, node: DomNode) -> None:
        """Take a node out of the document."""


class _Mounted:
    """A node that is in the document. number: of its handlers; 0: it has none."""

    __slots__ = ("children", "dom", "node", "number")

    def __init__(self, node: Node, dom: DomNode) -> None:
        self.node = node
        self.dom = dom
        self.children: list[_Mounted] = []
        self.number = 0


class Patcher:
    """Keeps the document below `root` at the node that was shown last."""

    def __init__(self, document: Document, root: DomNode) -> None:
        self._document = document
        self._root = root
        self._shown: _Mounted | None = None
        self._handlers: dict[int, Mapping[str, Handler]] = {}
        self._last_number = 0

    def show(self, node: Node) -> None:
        """Show this node. One that is the same object as before costs nothing."""
        if self._shown is None:
            self._shown = self._mount(node)
            self._document.insert(self._root, self._shown.dom, None)
        else:
            old, self._shown = self._shown, self._patched(self._shown, node)
            if self._shown is not old:
                self._document.insert(self._root, self._shown.dom, old.dom)
                self._take_out(old)

    def handler(self, number: str | None, kind: str) -> Handler | None:
        """Return the handler of this kind of event that an element with this number has."""
        return self._handlers.get(int(number), {}).get(kind) if number else None

    # -- one node ----------------------------------------------------------------------------

    def _mount(self, node: Node) -> _Mounted:
        if isinstance(node, str):
            return _Mounted(node, self._document.text(node))
        dom = self._document.element(node.tag, SVG if node.tag in _SVG_TAGS else "")
        mounted = _Mounted(node, dom)
        self._set_handlers(mounted, node)
        mounted.children = [self._mount(child) for child in node.children]
        for child in mounted.children:
            self._document.insert(dom, child.dom, None)
        for name, value in node.attributes.items():  # a select takes a value it has
            self._set(dom, name, value)
        return mounted

    def _patched(self, mounted: _Mounted, node: Node) -> _Mounted:
        """Change what is mounted to `node`; return what is mounted now."""
        old = mounted.node
        if old is node:
            return mounted
        if isinstance(old, str) or isinstance(node, str):
            if isinstance(old, str) and isinstance(node, str):
                if old != node:
                    self._document.set_text(mounted.dom, node)
                mounted.node = node
                return mounted
            return self._mount(node)
        if not _same(old, node):
            return self._mount(node)
        mounted.node = node
        self._set_handlers(mounted, node)
        self._patch_children(mounted, node.children)
        self._patch_attributes(mounted.dom, old, node)
        return mounted

    def _set(self, dom: DomNode, name: str, value: str) -> None:
        if name in PROPERTIES:
            self._document.set_property(dom, name, True if name in _BOOLEAN else value)
        else:
            self._document.set_attribute(dom, name, value)

    def _patch_attributes(self, dom: DomNode, old: Element, new: Element) -> None:
        for name in old.attributes:
            if name not in new.attributes:
                if name in PROPERTIES:
                    self._document.set_property(dom, name, False if name in _BOOLEAN else "")
                else:
                    self._document.remove_attribute(dom, name)
        for name, value in new.attributes.items():
            # A person may have changed a value since it was set.
            if name in PROPERTIES or old.attributes.get(name) != value:
                self._set(dom, name, value)

    def _set_handlers(self, mounted: _Mounted, node: Element) -> None:
        if not node.handlers:
            if mounted.number:
                del self._handlers[mounted.number]
                mounted.number = 0
                self._document.remove_attribute(mounted.dom, HANDLES)
            return
        if not mounted.number:
            self._last_number += 1
            mounted.number = self._last_number
            self._document.set_attribute(mounted.dom, HANDLES, str(mounted.number))
        self._handlers[mounted.number] = node.handlers

    def _take_out(self, mounted: _Mounted) -> None:
        self._document.remove(mounted.dom)
        self._forget(mounted)

    def _forget(self, mounted: _Mounted) -> None:
        if mounted.number:
            del self._handlers[mounted.number]
        for child in mounted.children:
            self._forget(child)

    # -- children ----------------------------------------------------------------------------

    def _patch_children(self, mounted: _Mounted, new: Sequence[Node]) -> None:
        places = {id(child): place for place, child in enumerate(mounted.children)}
        matches = _matches(mounted.children, new)
        children: list[_Mounted] = []
        for node, match in zip(new, matches, strict=True):
            children.append(self._mount(node) if match is None else self._patched(match, node))
        kept = set(map(id, children))
        for child in mounted.children:
            if id(child) not in kept:
                self._take_out(child)
        self._order(mounted.dom, children, places)
        mounted.children = children

    def _order(
        self, parent: DomNode, children: Sequence[_Mounted], places: Mapping[int, int]
    ) -> None:
        """Put the children in order; as few are moved as can be.

        One that is moved loses the focus and its scroll position. places: of those that were there.
        """
        old = [places[id(child)] for child in children if id(child) in places]
        staying = set(_increasing(old))
        following: DomNode | None = None
        for child in reversed(children):
            if places.get(id(child)) not in staying:
                self._document.insert(parent, child.dom, following)
            following = child.dom


def _increasing(numbers: Sequence[int]) -> Iterable[int]:
    """Return a longest increasing selection of these numbers, which are all different."""
    if all(map(lt, numbers, numbers[1:])):
        return numbers
    ends: list[int] = []  # the least number with which a selection of each length ends
    before: dict[int, int] = {}
    for number in numbers:
        length = bisect_left(ends, number)
        if length:
            before[number] = ends[length - 1]
        ends[length : length + 1] = [number]
    selected = [ends[-1]]
    while selected[-1] in before:
        selected.append(before[selected[-1]])
    return selected


def _same(old: Element, new: Element) -> bool:
    return old.tag == new.tag and old.key == new.key


def _matches(old: Sequence[_Mounted], new: Sequence[Node]) -> Iterator[_Mounted | None]:
    """Yield, for each new node, what to change into it: by its key, or the next of its kind."""
    keyed: dict[str, _Mounted] = {}
    others: list[_Mounted] = []
    for child in old:
        if isinstance(child.node, Element) and child.node.key:
            keyed[child.node.key] = child
        else:
            others.append(child)
    start = 0
    for node in new:
        if isinstance(node, Element) and node.key:
            found = keyed.pop(node.key, None)
            same = found is not None and isinstance(found.node, Element) and _same(found.node, node)
            yield found if same else None
            continue
        for place in range(start, len(others)):
            if _alike(others[place].node, node):
                start = place + 1
                yield others[place]
                break
        else:
            yield None


def _alike(old: Node, new: Node) -> bool:
    if isinstance(old, str) or isinstance(new, str):
        return isinstance(old, str) and isinstance(new, str)
    return old.tag == new.tag
