"""A fake of the browser's document: it keeps nodes, and records what is done to them."""

from dataclasses import dataclass, field

from callboard_page.nodes import Handler, Node
from callboard_page.patch import HANDLES, PROPERTIES, SVG, DomNode, Patcher


@dataclass(eq=False)
class FakeNode:
    """A node. An element has a tag; a text node has none.

    shown: the properties that a person sees and changes, such as a field's value.
    """

    tag: str = ""
    namespace: str = ""
    text: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    shown: dict[str, str | bool] = field(default_factory=dict)
    children: list["FakeNode"] = field(default_factory=list)
    parent: "FakeNode | None" = field(default=None, repr=False)

    def find(self, **attributes: str) -> list["FakeNode"]:
        """Return the elements below this one, itself included, with all these attributes."""
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        tag = wanted.pop("tag", self.tag)
        here = bool(self.tag) and tag == self.tag
        here = here and all(self.attributes.get(name) == value for name, value in wanted.items())
        below = [found for child in self.children for found in child.find(**attributes)]
        return [self, *below] if here else below


@dataclass(frozen=True)
class Operation:
    """What was done. node: to which node; for an insertion, the node that was inserted."""

    name: str
    node: FakeNode
    detail: str = ""


class FakeDocument:
    """The document below `root`. operations: what was done since `forget`."""

    def __init__(self) -> None:
        self.root = FakeNode("root")
        self.operations: list[Operation] = []

    def forget(self) -> None:
        """Forget what was done."""
        self.operations = []

    @property
    def names(self) -> list[str]:
        """What was done, in order."""
        return [operation.name for operation in self.operations]

    def _note(self, name: str, node: FakeNode, detail: str = "") -> None:
        self.operations.append(Operation(name, node, detail))

    # -- callboard_page.patch.Document -------------------------------------------------------

    def element(self, tag: str, namespace: str = "") -> FakeNode:
        node = FakeNode(tag, namespace)
        self._note("element", node, tag)
        return node

    def text(self, text: str) -> FakeNode:
        node = FakeNode(text=text)
        self._note("text", node, text)
        return node

    def set_text(self, node: DomNode, text: str) -> None:
        assert isinstance(node, FakeNode)
        assert not node.tag
        node.text = text
        self._note("set_text", node, text)

    def set_attribute(self, node: DomNode, name: str, value: str) -> None:
        assert isinstance(node, FakeNode)
        assert name not in PROPERTIES
        assert isinstance(value, str)
        node.attributes[name] = value
        self._note("set_attribute", node, name)

    def remove_attribute(self, node: DomNode, name: str) -> None:
        assert isinstance(node, FakeNode)
        del node.attributes[name]
        self._note("remove_attribute", node, name)

    def set_property(self, node: DomNode, name: str, value: str | bool) -> None:
        assert isinstance(node, FakeNode)
        if node.shown.get(name, type(value)()) != value:
            node.shown[name] = value
            self._note("set_property", node, name)

    def insert(self, parent: DomNode, node: DomNode, before: DomNode | None) -> None:
        assert isinstance(parent, FakeNode)
        assert isinstance(node, FakeNode)
        if node.parent is not None:
            node.parent.children.remove(node)
        place = len(parent.children)
        if before is not None:
            assert isinstance(before, FakeNode)
            place = parent.children.index(before)  # the browser raises NotFoundError, too
        parent.children.insert(place, node)
        node.parent = parent
        self._note("insert", node)

    def remove(self, node: DomNode) -> None:
        assert isinstance(node, FakeNode)
        if node.parent is not None:
            node.parent.children.remove(node)
            node.parent = None
        self._note("remove", node)


def expected(node: Node) -> object:
    """Return what a document reads as that shows this node; see `read`."""
    if isinstance(node, str):
        return node
    attributes = {name: value for name, value in node.attributes.items() if name not in PROPERTIES}
    shown: dict[str, str | bool] = {
        name: value if name == "value" else True
        for name, value in node.attributes.items()
        if name in PROPERTIES and (name != "value" or value)
    }
    return (node.tag, attributes, shown, [expected(child) for child in node.children])


def read(node: FakeNode) -> object:
    """Return the node as data, without the numbers of its handlers."""
    if not node.tag:
        return node.text
    assert (node.namespace == SVG) == (node.tag in {"svg", "path"})
    attributes = {name: value for name, value in node.attributes.items() if name != HANDLES}
    shown = {name: value for name, value in node.shown.items() if value}
    return (node.tag, attributes, shown, [read(child) for child in node.children])


def handlers(patcher: Patcher, node: FakeNode, kinds: tuple[str, ...]) -> list[Handler | None]:
    """Return the handlers of these kinds that an event in each element would meet, in order."""
    if not node.tag:
        return []
    number = node.attributes.get(HANDLES)
    mine = [patcher.handler(number, kind) for kind in kinds]
    return mine + [one for child in node.children for one in handlers(patcher, child, kinds)]


def expected_handlers(node: Node, kinds: tuple[str, ...]) -> list[Handler | None]:
    """Return what `handlers` returns for a document that shows this node."""
    if isinstance(node, str):
        return []
    mine = [node.handlers.get(kind) for kind in kinds]
    return mine + [one for child in node.children for one in expected_handlers(child, kinds)]
