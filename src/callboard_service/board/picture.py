"""What a walk has found, as messages of the board: bounded in bytes, however large the tree is."""

from collections.abc import Callable, Generator, Iterable
from typing import Final, TypeVar

from google.protobuf.message import Message

from actors import ActorView, SessionDetails
from callboard.board.v1.board_pb2 import (
    ActorGroup,
    BoardActor,
    BoardConversation,
    BoardSession,
    SlowHandler,
)
from callboard_service.board.survey import Group, GroupKey, Node
from callboard_service.board.texts import DETAILS, bounded, bounded_path
from callboard_service.chat.details import ConversationDetails

TREE_BYTES: Final = 64 * 1024
PART: Final = 50
"""Actors that are drawn before the event loop has its turn: about a millisecond."""

LIST_BYTES: Final = 12 * 1024
"""Bytes of each of the lists of a snapshot."""

_GROUPS: Final = 8
"""Groups of one actor's children."""

_LAST_GROUP: Final = 48
"""Bytes reserved in each parent for the group of all types."""

_FRAME: Final = 8
"""Bytes of a tag and lengths, in the message and in those around it."""

S = TypeVar("S")
R = TypeVar("R", bound=Message)


def draw(root: Node, room: int = TREE_BYTES) -> Generator[None, None, BoardActor]:
    """Return the tree of these nodes in `room` bytes; yield after each part of the work.

    What does not fit is counted. The levels are drawn from the top, and the parents of a level
    share what room is left.
    """
    drawn, part = describe(root), 0
    room -= drawn.ByteSize() + _LAST_GROUP
    level = [(root, drawn)]
    while level:
        below: list[tuple[Node, BoardActor]] = []
        for number, (node, actor) in enumerate(level):
            share = room // (len(level) - number)
            room -= _draw_children(node, actor, share, below)
            part += len(actor.children)
            if part >= PART:
                part = 0
                yield
        level = below
    return drawn


def _draw_children(
    node: Node, actor: BoardActor, share: int, below: list[tuple[Node, BoardActor]]
) -> int:
    """Add a node's children, at most `share` bytes of them; return how many bytes."""
    used, shown = 0, []
    heaviest = sorted(node.children, key=lambda child: -child.weight)
    for child in heaviest:
        described = describe(child)
        size = described.ByteSize() + _FRAME + (_LAST_GROUP if child.view.child_count else 0)
        if used + size > share:
            break
        used += size
        shown.append((child, described))
    for child in heaviest[len(shown) :]:
        node.count(child.view, child.state)
    shown.sort(key=lambda found: found[0].place)
    for child, described in shown:
        actor.children.append(described)
        if child.children or child.others:
            below.append((child, actor.children[-1]))
    return used + _draw_groups(node.others, actor, share - used)


def _draw_groups(groups: dict[GroupKey, Group], actor: BoardActor, room: int) -> int:
    """Add the groups, the largest first; return the bytes of all but the group of the rest."""
    used, rest = 0, ActorGroup()
    for (kind, state), group in sorted(groups.items(), key=lambda item: -item[1].actors):
        message = ActorGroup(
            type=name_of(kind),
            state=state,
            actors=group.actors,
            mailbox=group.mailbox,
            handled=group.handled,
            restarts=group.restarts,
        )
        size = message.ByteSize() + _FRAME
        if len(actor.others) < _GROUPS and used + size <= room:
            used += size
            actor.others.append(message)
        else:
            rest.actors += group.actors
            rest.mailbox += group.mailbox
            rest.handled += group.handled
            rest.restarts += group.restarts
    if rest.actors:
        actor.others.append(rest)
    return used


def describe(node: Node) -> BoardActor:
    """Return an actor without its children."""
    view = node.view
    actor = BoardActor(
        name=bounded(view.name),
        type=name_of(view.kind),
        state=node.state,
        mailbox_capacity=min(view.capacity, 2**32 - 1),
        handled=view.handled,
        restarts=view.restarts,
        up_seconds=round(view.up_for, 3),
    )
    if view.busy:
        actor.mailbox = view.mailbox
        actor.message = bounded(view.message)
        actor.busy_seconds = round(view.busy_for, 3)
    tally = view.tally
    if tally.started:
        actor.children_now = view.child_count
        actor.children_started = tally.started
        actor.children_crashed = tally.crashed
        actor.children_restarted = tally.restarted
    details = view.details
    if not (details is None or isinstance(details, SessionDetails | ConversationDetails)):
        actor.details = in_words(details)
    return actor


def name_of(kind: type[object] | None) -> str:
    """Return the name of an actor's class; empty if it has no object now."""
    return "" if kind is None else bounded(kind.__name__)


def in_words(details: object) -> str:
    """Return what an actor says about itself; empty if that raises."""
    try:
        return bounded(str(details), DETAILS)
    except Exception:  # noqa: BLE001 - somebody else's `__str__`
        return ""


def describe_session(details: SessionDetails, view: ActorView) -> BoardSession:
    """Return a session."""
    return BoardSession(
        name=bounded(view.name),
        path=bounded_path(view.path),
        connected=details.connected,
        requests=details.requests,
        blocked=details.blocked,
        send_queue_messages=details.send_queue,
        send_queue_bytes=details.send_queue_bytes,
        replay_messages=details.replay,
        replay_bytes=details.replay_bytes,
        held_bytes=details.held_bytes,
        credit=details.credit,
        answers=details.answers,
    )


def describe_conversation(details: ConversationDetails, view: ActorView) -> BoardConversation:
    """Return a conversation."""
    return BoardConversation(
        id=bounded(view.name),
        path=bounded_path(view.path),
        followers=details.followers,
        state=details.state,
        queued=details.queued,
        asks=details.asks,
        senders=details.senders,
        events=details.events,
        log_bytes=details.log_bytes,
    )


def describe_slow(seconds: float, view: ActorView) -> SlowHandler:
    """Return a handler that has been at one message for this long."""
    return SlowHandler(
        path=bounded_path(view.path),
        type=name_of(view.kind),
        message=bounded(view.message),
        seconds=round(seconds, 3),
        mailbox=view.mailbox,
    )


def listed(
    found: Iterable[tuple[S, ActorView]],
    describe: Callable[[S, ActorView], R],
    room: int = LIST_BYTES,
) -> list[R]:
    """Return messages for these in their order, at most `room` bytes of them."""
    messages: list[R] = []
    for what, view in found:
        message = describe(what, view)
        room -= message.ByteSize() + _FRAME
        if room < 0:
            break
        messages.append(message)
    return messages
