"""The board as a whole: numbers, the actor tree, slow handlers, sessions, conversations, events."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from callboard.board.v1.board_pb2 import (
    ActorReport,
    BoardConversation,
    BoardEvent,
    BoardEventKind,
    BoardSession,
    BoardSnapshot,
    SlowHandler,
)
from callboard.v1.chat_pb2 import TurnState
from callboard_page.board.watching import Board
from callboard_page.connection import Connection
from callboard_page.nodes import Child, Element, Node, h
from callboard_page.notes import Notes
from callboard_page.view.actors import choose, state_of, tree_view
from callboard_page.view.parts import button, size_of
from callboard_page.view.plots import plot_view
from callboard_page.view.shell import connection_view, notes_view, status_view

_EVENTS: Final = {
    BoardEventKind.BOARD_EVENT_KIND_STARTED: ("started", ""),
    BoardEventKind.BOARD_EVENT_KIND_STOPPED: ("stopped", ""),
    BoardEventKind.BOARD_EVENT_KIND_CRASHED: ("crashed", "error"),
    BoardEventKind.BOARD_EVENT_KIND_GIVEN_UP: ("given up", "error"),
    BoardEventKind.BOARD_EVENT_KIND_STUCK: ("stuck", "error"),
    BoardEventKind.BOARD_EVENT_KIND_BLOCKED: ("blocked the loop", "warn"),
    BoardEventKind.BOARD_EVENT_KIND_DEAD_LETTER: ("lost a message", "warn"),
}

_TURNS: Final = {
    TurnState.TURN_STATE_UNSPECIFIED: "idle",
    TurnState.TURN_STATE_RUNNING: "replying",
    TurnState.TURN_STATE_WAITING: "waits for an answer",
    TurnState.TURN_STATE_STOPPING: "stopping",
}


def board_view(board: Board, connection: Connection, notes: Notes) -> Element:
    """Return the whole page."""
    return h(
        "div",
        _head(board, connection),
        h("main", _body(board), class_="board", tabindex=0),
        status_view(""),
        notes_view(notes),
        class_="board-page",
    )


def _head(board: Board, connection: Connection) -> Element:
    about: Child = None
    if board.snapshot is not None:
        totals = board.snapshot.totals
        about = f"{totals.backend} · {totals.version} · up {_span(board.snapshot.up_seconds)}"
    return h(
        "header",
        h("h1", "Callboard"),
        h("a", "Chat", href="/"),
        h("span", about, class_="about"),
        h("span", class_="space"),
        connection_view(connection),
    )


def _body(board: Board) -> list[Node]:
    snapshot = board.snapshot
    if snapshot is None:
        return [h("p", "Loading …", class_="empty", key="empty")]
    totals = snapshot.totals
    nodes: list[Node] = []
    if not totals.ready:
        nodes.append(h("p", f"Not ready: {totals.detail}", class_="ended error", key="ready"))
    nodes += [
        h("div", [plot_view(one) for one in board.memory.series], class_="plots", key="plots"),
        _counts(snapshot),
        h(
            "div",
            h("div", tree_view(board, snapshot.root), key="picture"),
            h("aside", _side(board, snapshot), key="side"),
            class_="columns",
            key="columns",
        ),
        h(
            "div",
            _sessions(board, snapshot),
            _conversations(board, snapshot),
            class_="tables",
            key="tables",
        ),
    ]
    return nodes


def _counts(snapshot: BoardSnapshot) -> Element:
    totals = snapshot.totals
    counts = (
        ("connections", totals.connections),
        ("sessions", totals.sessions),
        ("of them away", totals.sessions_away),
        ("requests in flight", totals.requests),
        ("crashes", totals.crashes),
        ("restarts", totals.restarts),
        ("given up", totals.given_up),
        ("dead letters", totals.dead_letters),
    )
    items = [h("div", h("dt", name), h("dd", f"{count:,}")) for name, count in counts]
    return h("dl", items, class_="counts", key="counts")


def _side(board: Board, snapshot: BoardSnapshot) -> list[Node]:
    nodes: list[Node] = []
    if board.chosen:
        nodes.append(_report(board, board.report))
    nodes += [_slow(board, snapshot.slow), _event_list("Events", snapshot.events, "events")]
    return nodes


# -- what a click shows ----------------------------------------------------------------------


def _report(board: Board, report: ActorReport | None) -> Element:
    close = button("Close", lambda: board.choose(""), name="close")
    name = board.chosen.rpartition("/")[2]
    head = h("div", h("h2", name), close, class_="section-head")
    if report is None:
        return h("section", head, h("p", "Loading …", class_="empty"), class_="report", key="one")
    if not report.HasField("actor"):
        gone = h("p", "There is no such actor now.", class_="empty")
        return h("section", head, gone, _events(report.events), class_="report", key="one")
    actor = report.actor
    facts: list[tuple[str, str]] = [
        ("class", actor.type),
        ("state", state_of(actor)[1]),
        ("up", _span(actor.up_seconds)),
        ("mailbox", f"{actor.mailbox} of {actor.mailbox_capacity}"),
        ("handled", f"{actor.handled:,}"),
        ("restarts", f"{actor.restarts}"),
        ("children", f"{actor.children_now:,} now, {actor.children_started:,} started"),
    ]
    if actor.message:
        facts.append(("at work on", f"{actor.message}, {actor.busy_seconds:.1f} s"))
    if actor.details:
        facts.append(("says", actor.details))
    return h(
        "section",
        head,
        h("dl", [h("div", h("dt", key), h("dd", value)) for key, value in facts], class_="facts"),
        h("h3", "Its events"),
        _events(report.events),
        class_="report",
        aria_label=f"Actor {name}",
        key="one",
    )


def _slow(board: Board, slow: Sequence[SlowHandler]) -> Element:
    items = [
        h(
            "li",
            button(one.path.rpartition("/")[2], choose(board, one.path), class_="quiet"),
            f"{one.message}: {one.seconds:.0f} s",
            h("span", f"{one.mailbox} behind it", class_="soft") if one.mailbox else None,
            key=one.path,
        )
        for one in slow
    ]
    content = h("ul", items, class_="plain-list") if items else h("p", "None.", class_="empty")
    return h("section", h("h2", "Slow handlers"), content, key="slow")


def _event_list(title: str, events: Sequence[BoardEvent], key: str) -> Element:
    return h("section", h("h2", title), _events(events), key=key)


def _events(events: Sequence[BoardEvent]) -> Element:
    if not events:
        return h("p", "None.", class_="empty", key="none")
    items = [_event(event) for event in list(events)[-50:][::-1]]
    return h("ol", items, class_="events", key="some")


def _event(event: BoardEvent) -> Element:
    word, class_ = _EVENTS.get(event.kind, ("?", ""))
    at = datetime.fromtimestamp(event.at.seconds).strftime("%H:%M:%S")  # noqa: DTZ006 - local time
    what = " ".join(filter(None, [event.error, event.message, event.where]))
    times = f", {event.count} times" if event.count > 1 and word != "started" else ""
    return h(
        "li",
        h("time", at),
        h("span", word + times, class_=f"word {class_}"),
        h("span", event.path.rpartition("/")[2], class_="name", title=event.path),
        h("span", what, class_="soft") if what else None,
        key=str(event.number),
    )


# -- tables ----------------------------------------------------------------------------------


def _sessions(board: Board, snapshot: BoardSnapshot) -> Element:
    totals = snapshot.totals
    rows = [_session(board, one) for one in snapshot.sessions]
    limits = (
        f"A session's send queue holds {size_of(totals.send_queue_bytes_limit)}, its replay buffer "
        f"{totals.replay_messages_limit:,} answers and {size_of(totals.replay_bytes_limit)}."
    )
    heads = ("session", "", "requests", "blocked", "send queue", "replay buffer", "held", "credit")
    return _table("Sessions", heads, rows, snapshot.more_sessions, limits)


def _session(board: Board, session: BoardSession) -> Element:
    credit = f"{session.credit:,}" if session.HasField("credit") else "unlimited"
    cells = (
        "connected" if session.connected else "away",
        f"{session.requests}",
        f"{session.blocked}",
        f"{session.send_queue_messages:,} · {size_of(session.send_queue_bytes)}",
        f"{session.replay_messages:,} · {size_of(session.replay_bytes)}",
        size_of(session.held_bytes),
        credit,
    )
    return _row(board, session.path, session.name, cells)


def _conversations(board: Board, snapshot: BoardSnapshot) -> Element:
    rows = [_conversation(board, one) for one in snapshot.conversations]
    heads = ("conversation", "state", "followers", "senders", "queued", "asks", "events", "log")
    more = snapshot.more_conversations
    return _table("Conversations that are awake", heads, rows, more, "")


def _conversation(board: Board, one: BoardConversation) -> Element:
    cells = (
        _TURNS.get(one.state, "ends"),
        f"{one.followers}",
        f"{one.senders}",
        f"{one.queued}",
        f"{one.asks}",
        f"{one.events:,}",
        size_of(one.log_bytes),
    )
    return _row(board, one.path, one.id, cells)


def _row(board: Board, path: str, name: str, cells: Sequence[str]) -> Element:
    return h(
        "tr",
        h("th", button(name, choose(board, path), class_="quiet"), scope="row"),
        [h("td", cell) for cell in cells],
        key=path,
    )


def _table(
    title: str, heads: Sequence[str], rows: Sequence[Element], more: int, note: str
) -> Element:
    if not rows:
        return h("section", h("h2", title), h("p", "None.", class_="empty"), key=title)
    return h(
        "section",
        h("h2", title),
        h(
            "div",
            h(
                "table",
                h("thead", h("tr", [h("th", head or "state", scope="col") for head in heads])),
                h("tbody", rows),
            ),
            class_="scrolled",
            tabindex=0,
            role="region",
            aria_label=title,
        ),
        h("p", f"and {more:,} more", class_="soft") if more else None,
        h("p", note, class_="soft") if note else None,
        key=title,
    )


def _span(seconds: float) -> str:
    """Return a span of time as a person reads it."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    if seconds < 86_400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86_400:.1f} days"
