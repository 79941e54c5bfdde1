"""A walk over the actor tree, in parts between which the event loop has its turn.

Each actor is looked at once. Of many siblings only those that most need a look are kept, and the
others are counted in groups, so that a walk holds little however large the tree is.
"""

from collections.abc import Generator, Iterator, Sequence
from heapq import nlargest
from typing import Final, TypeAlias

from actors import Actor, ActorView, Resting, SessionDetails
from callboard.board.v1.board_pb2 import ActorState
from callboard_service.chat.details import ConversationDetails

PART: Final = 200
"""Actors that are looked at before the event loop has its turn: about a millisecond."""

LARGE_PART: Final = 2000
"""The same of actors at rest that are only counted."""

KEPT: Final = 50
"""Children of one actor that are kept."""

DEPTH: Final = 20
"""Levels below the root that are looked at."""

SLOW: Final = 1.0
"""Seconds after which the handler of one message counts as slow."""

LISTED: Final = 50
"""Sessions, and conversations, and slow handlers, that are kept."""

STARTING: Final = ActorState.ACTOR_STATE_STARTING
WAITING: Final = ActorState.ACTOR_STATE_WAITING
RUNNING: Final = ActorState.ACTOR_STATE_RUNNING
RESTARTING: Final = ActorState.ACTOR_STATE_RESTARTING
STOPPING: Final = ActorState.ACTOR_STATE_STOPPING
"""Globals, because looking up a member of a protobuf enum takes microseconds."""

_STATES: Final = {
    "starting": STARTING,
    "paused": RESTARTING,
    "stopping": STOPPING,
    "stopped": STOPPING,
}

GroupKey: TypeAlias = tuple[type[Actor[object]] | None, ActorState.ValueType]


class Group:
    """Siblings of one type and state that are only counted."""

    __slots__ = ("actors", "handled", "mailbox", "restarts")

    def __init__(self) -> None:
        self.actors: int = 0
        self.mailbox: int = 0
        self.handled: int = 0
        self.restarts: int = 0


class Node:
    """An actor that was looked at. weight: how much it, or one below it, needs a look.

    children: those that were kept, in order of their start. place: its own among its siblings.
    """

    __slots__ = ("children", "others", "place", "state", "view", "weight")

    def __init__(self, view: ActorView, state: ActorState.ValueType, weight: float) -> None:
        self.view: ActorView = view
        self.state: ActorState.ValueType = state
        self.weight: float = weight
        self.place: int = 0
        self.children: Sequence[Node] = ()
        self.others: dict[GroupKey, Group] = {}

    def count(self, view: ActorView, state: ActorState.ValueType) -> None:
        """Count a child in its group."""
        key = view.kind, state
        group = self.others.get(key)
        if group is None:
            group = self.others[key] = Group()
        group.actors += 1
        group.mailbox += view.mailbox
        group.handled += view.handled
        group.restarts += view.restarts

    def count_resting(self, kind: type[Actor[object]], rest: Resting) -> None:
        """Count children that are at rest."""
        group = self.others.setdefault((kind, WAITING), Group())
        group.actors += rest.actors
        group.handled += rest.handled


class Survey:
    """What one walk has found. kept: children of one actor. depth: levels below the first."""

    def __init__(self, kept: int = KEPT, depth: int = DEPTH) -> None:
        self._kept = kept
        self._depth = depth
        self.actors: int = 0
        self.slow: list[tuple[float, ActorView]] = []
        self.sessions: list[tuple[SessionDetails, ActorView]] = []
        self.conversations: list[tuple[ConversationDetails, ActorView]] = []

    def walk(self, view: ActorView, depth: int = 0) -> Generator[None, None, Node]:
        """Look at an actor and at all below it; yield after each part, and return its node."""
        node = Node(view, *self._look(view))
        if depth == self._depth:
            return node
        kept: list[Node] = []
        bar = -1.0
        for place, child in enumerate(self._children(node)):
            if child is None:
                yield
                continue
            if child.child_count:
                found = yield from self.walk(child, depth + 1)
            else:
                found = Node(child, *self._look(child))
            if found.weight <= bar:  # so many siblings need a look more than this one
                node.count(child, found.state)
                continue
            found.place = place
            kept.append(found)
            if len(kept) == 2 * self._kept:
                kept = self._choose(node, kept)
                bar = min(child.weight for child in kept)
        node.children = self._choose(node, kept)
        # What is below an actor may need a look as much as the actor itself.
        heaviest = max((child.weight for child in kept), default=0.0)
        node.weight = max(node.weight, 0.9 * heaviest)
        return node

    def _children(self, node: Node) -> Iterator[ActorView | None]:
        """Yield the children of a node, and None after each part of the walk.

        Where there are more than may be kept, those at rest are counted at once.
        """
        if node.view.child_count <= self._kept:
            for child in node.view.children():
                yield child
                if self.actors % PART == 0:
                    yield None
            return
        for part in node.view.parts(LARGE_PART):
            yield None
            for kind, rest in part.resting.items():
                node.count_resting(kind, rest)
                self.actors += rest.actors
            for child in part.views:
                yield child
                if self.actors % PART == 0:
                    yield None

    def _choose(self, node: Node, children: list[Node]) -> list[Node]:
        """Return those that most need a look, in their order; count the others."""
        if len(children) <= self._kept:
            return children
        children.sort(key=lambda child: -child.weight)  # stable: of equals the oldest are kept
        for child in children[self._kept :]:
            node.count(child.view, child.state)
        return sorted(children[: self._kept], key=lambda child: child.place)

    def _look(self, view: ActorView) -> tuple[ActorState.ValueType, float]:
        """Look at one actor, and note what it says about itself; return its state and weight."""
        self.actors += 1
        weight: float = view.mailbox + view.restarts
        if weight:
            weight = min(weight, 100)
        if view.child_count:
            weight += 0.5
        if not view.running:
            return _STATES[view.state], weight + (1000 if view.restarting else 50)
        details = view.details
        if details is not None:
            weight += self._note(details, view)
        if not view.busy or is_endless(view):
            return WAITING, weight
        seconds = view.busy_for
        if seconds >= SLOW:
            self.slow.append((seconds, view))
            weight += 500 + min(seconds, 400)
        return RUNNING, weight + 1

    def _note(self, details: object, view: ActorView) -> float:
        """Note a session or a conversation; return what that adds to its weight."""
        if isinstance(details, SessionDetails):
            self.sessions.append((details, view))
            return min(details.held_bytes / 65536, 100)
        if isinstance(details, ConversationDetails):
            self.conversations.append((details, view))
            return 20 if details.state else min(details.followers, 10)
        return 0

    def slowest(self) -> list[tuple[float, ActorView]]:
        """Return the slow handlers, the slowest first."""
        return nlargest(LISTED, self.slow, key=lambda found: found[0])

    def largest_sessions(self) -> list[tuple[SessionDetails, ActorView]]:
        """Return the sessions that hold the most."""
        return nlargest(LISTED, self.sessions, key=lambda found: found[0].held_bytes)

    def liveliest_conversations(self) -> list[tuple[ConversationDetails, ActorView]]:
        """Return the conversations with an open turn, then those with the most followers."""

        def liveliness(found: tuple[ConversationDetails, ActorView]) -> tuple[bool, int]:
            details = found[0]
            return bool(details.state or details.queued), details.followers

        return nlargest(LISTED, self.conversations, key=liveliness)


def is_endless(view: ActorView) -> bool:
    """Return whether the actor is a request that follows something: it waits most of the time."""
    return bool(getattr(view.kind, "endless", False))


def find(root: ActorView, path: str) -> ActorView | None:
    """Return the actor with this path; None if there is none. A name may contain a slash."""
    if path == root.name:
        return root
    below = path.removeprefix(f"{root.name}/")
    return None if below == path else _find(root, below.split("/"))


def _find(above: ActorView, parts: list[str]) -> ActorView | None:
    for count in range(1, len(parts) + 1):
        child = above.child("/".join(parts[:count]))
        if child is not None:
            found = child if count == len(parts) else _find(child, parts[count:])
            if found is not None:
                return found
    return None
