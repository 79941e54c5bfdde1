"""The browser's document, and the events that happen in it."""

from collections.abc import Callable, Iterable
from typing import Any, Final, cast

from js import document, window
from pyodide.ffi import JsProxy, create_proxy

from callboard_page.nodes import Event, Given
from callboard_page.patch import HANDLES, DomNode, Patcher

KINDS: Final = (
    "click", "input", "change", "keydown", "submit", "dragover", "dragleave", "drop", "paste",
    "toggle", "scroll",
)  # fmt: skip
"""The kinds of event that views can handle."""


class BrowserDocument:
    """Makes and changes nodes of the document."""

    def element(self, tag: str, namespace: str = "") -> DomNode:
        """Return a new element."""
        if namespace:
            return cast("DomNode", document.createElementNS(namespace, tag))
        return cast("DomNode", document.createElement(tag))

    def text(self, text: str) -> DomNode:
        """Return a new text node."""
        return cast("DomNode", document.createTextNode(text))

    def set_text(self, node: DomNode, text: str) -> None:
        """Change a text node."""
        _js(node).data = text

    def set_attribute(self, node: DomNode, name: str, value: str) -> None:
        """Set an attribute."""
        _js(node).setAttribute(name, value)

    def remove_attribute(self, node: DomNode, name: str) -> None:
        """Remove an attribute."""
        _js(node).removeAttribute(name)

    def set_property(self, node: DomNode, name: str, value: str | bool) -> None:
        """Set a property, if it has another value: setting it would move the cursor."""
        if getattr(node, name) != value:
            setattr(node, name, value)

    def insert(self, parent: DomNode, node: DomNode, before: DomNode | None) -> None:
        """Put a node into `parent`, before another one or at the end."""
        _js(parent).insertBefore(node, before)

    def remove(self, node: DomNode) -> None:
        """Take a node out of the document."""
        _js(node).remove()


def _js(node: DomNode) -> Any:  # noqa: ANN401 - a proxy has whatever its object has
    return node


class GivenFile:
    """A file that a person has given to the page."""

    def __init__(self, file: JsProxy) -> None:
        self.name: str = file.name
        self.media_type: str = file.type
        self.size: int = file.size
        self._file = file

    async def read(self) -> bytes:
        """Return its content."""
        content = await self._file.arrayBuffer()
        return cast("bytes", content.to_bytes())


class Events:
    """Passes the events of a document to the handlers that a patcher knows.

    One listener per kind of event serves all elements: a proxy per handler would have to be
    destroyed with each change.
    """

    def __init__(self, patcher: Patcher) -> None:
        self._patcher = patcher
        self._proxy = create_proxy(self._happened)

    def listen(self) -> None:
        """Listen until the page goes away."""
        for kind in KINDS:
            document.addEventListener(kind, self._proxy, True)

    def _happened(self, event: JsProxy) -> None:
        kind: str = event.type
        target = event.target
        if not hasattr(target, "closest"):
            return
        element = target.closest(f"[{HANDLES}]")
        while element:
            handler = self._patcher.handler(element.getAttribute(HANDLES), kind)
            if handler is not None:
                handler(_event(event, kind))
                return
            parent = element.parentElement
            element = parent.closest(f"[{HANDLES}]") if parent else None


def _event(event: JsProxy, kind: str) -> Event:
    target = event.target
    value = str(target.value) if hasattr(target, "value") else ""
    if kind == "keydown":
        return Event(
            kind,
            value=value,
            key=event.key,
            shift=event.shiftKey,
            plain=not (event.ctrlKey or event.altKey or event.metaKey),
            composing=event.isComposing,
            prevent=event.preventDefault,
        )
    return Event(kind, value=value, files=tuple(_files(event, kind)), prevent=event.preventDefault)


def _files(event: JsProxy, kind: str) -> Iterable[Given]:
    if kind == "drop":
        given = event.dataTransfer.files
    elif kind == "paste":
        given = event.clipboardData.files
    elif kind == "change" and hasattr(event.target, "files") and event.target.files:
        given = event.target.files
    else:
        return []
    return [GivenFile(given.item(place)) for place in range(given.length)]


class Frames:
    """Calls `draw` before the browser paints, at most once a frame, and only when asked to."""

    def __init__(self, draw: Callable[[], None]) -> None:
        self._draw = draw
        self._asked = False
        self._proxy = create_proxy(self._now)

    def ask(self) -> None:
        """Draw soon. A page that nobody sees is drawn when somebody looks at it again."""
        if not self._asked:
            self._asked = True
            window.requestAnimationFrame(self._proxy)

    def _now(self, _: float) -> None:
        self._asked = False
        self._draw()
