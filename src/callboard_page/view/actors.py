"""The actor tree as a picture: a box for each actor, with those that it has started inside."""

from functools import partial
from typing import Final

from callboard.board.v1.board_pb2 import ActorGroup, ActorState, BoardActor
from callboard_page.board.series import path_of
from callboard_page.board.watching import Board
from callboard_page.nodes import Element, Event, h
from callboard_page.view.parts import hidden

STATES: Final = {
    ActorState.ACTOR_STATE_STARTING: ("starting", "starting"),
    ActorState.ACTOR_STATE_WAITING: ("idle", "waiting"),
    ActorState.ACTOR_STATE_RUNNING: ("running", "running"),
    ActorState.ACTOR_STATE_RESTARTING: ("restarting", "restarting"),
    ActorState.ACTOR_STATE_STOPPING: ("stopping", "stopping"),
    ActorState.ACTOR_STATE_GIVEN_UP: ("given-up", "given up"),
}
"""The class and the word of each state."""

SLOW: Final = 1.0
"""Seconds with one message from which an actor is marked as slow."""


def tree_view(board: Board, root: BoardActor) -> Element:
    """Return the picture with what its colours mean."""
    legend = [
        h("li", h("span", class_=f"mark is-{class_}"), word) for class_, word in STATES.values()
    ]
    return h(
        "section",
        h("div", h("h2", "Actors"), h("ul", legend, class_="legend"), class_="section-head"),
        _actor(board, root, ""),
        class_="tree",
        aria_label="Actors",
    )


def state_of(actor: BoardActor) -> tuple[str, str]:
    """Return the class and the word of an actor's state; one that takes long is slow."""
    class_, word = STATES.get(actor.state, ("idle", "waiting"))
    return ("slow", "slow") if actor.busy_seconds >= SLOW else (class_, word)


def _actor(board: Board, actor: BoardActor, above: str) -> Element:
    path = path_of(above, actor)
    inner = [_actor(board, child, path) for child in actor.children]
    groups = [_group(group) for group in actor.others]
    return h(
        "div",
        _head(board, actor, path),
        h("div", inner, groups, class_="inner") if inner or groups else None,
        class_="box" if inner or groups else "box leaf",
        key=path,
    )


def _head(board: Board, actor: BoardActor, path: str) -> Element:
    class_, word = state_of(actor)
    rate = board.memory.rates.get(path, 0.0)
    about = [actor.type, word]
    if actor.mailbox:
        about.append(f"{actor.mailbox} of {actor.mailbox_capacity} in its mailbox")
    if actor.restarts:
        about.append(f"restarted {actor.restarts} times")
    if actor.busy_seconds >= SLOW:
        about.append(f"{actor.message} for {actor.busy_seconds:.0f} s")
    chosen = board.chosen == path

    def clicked(_: Event) -> None:
        board.choose(path)

    return h(
        "button",
        h("span", class_=f"mark is-{class_}"),
        h("span", actor.name, class_="name"),
        h("span", f"{actor.mailbox}", class_="badge", title="in its mailbox")
        if actor.mailbox
        else None,
        h("span", f"↻{actor.restarts}", class_="badge warn") if actor.restarts else None,
        h("span", f"{rate:.0f}/s", class_="rate") if rate >= 1 else None,
        hidden(f", {', '.join(about)}"),
        type="button",
        class_="actor",
        title=", ".join(about),
        aria_pressed="true" if chosen else "false",
        on={"click": clicked},
    )


def _group(group: ActorGroup) -> Element:
    class_, word = STATES.get(group.state, ("idle", "waiting"))
    waiting = f", {group.mailbox} in their mailboxes" if group.mailbox else ""
    kind = group.type or "others"
    return h(
        "span",
        h("span", class_=f"mark is-{class_}"),
        h("b", f"{group.actors:,}"),
        f" {kind}",
        class_="group",
        title=f"{group.actors} more of type {kind}, {word}{waiting}",
        key=f"group {group.type} {group.state}",
    )


def choose(board: Board, path: str) -> "partial[None]":
    """Return a function that chooses an actor."""
    return partial(board.choose, path)
