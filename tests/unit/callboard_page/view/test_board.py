"""The board, as a person sees it."""

import pytest

from callboard.board.v1.board_pb2 import (
    ActorGroup,
    ActorReport,
    ActorState,
    BoardActor,
    BoardConversation,
    BoardEvent,
    BoardEventKind,
    BoardSession,
    BoardSnapshot,
    BoardTotals,
    SlowHandler,
)
from callboard_page.board.series import Series
from callboard_page.board.watching import Board
from callboard_page.connection import Connection
from callboard_page.nodes import Element, Event, find, text_of
from callboard_page.view.board import board_view
from callboard_page.view.plots import HEIGHT, WIDTH, plot_view
from tests.support.still_page import StillPage

RUNNING = ActorState.ACTOR_STATE_RUNNING


class StillBoard:
    """A board that shows what a test writes."""

    def __init__(self) -> None:
        self.page = StillPage()
        self.board = Board(self.page.client, self.page.tasks, lambda: None)

    def view(self) -> Element:
        return board_view(self.board, Connection(self.page.client), self.page.notes)

    def show(self, **fields: object) -> Element:
        ready = BoardTotals(ready=True)
        root = BoardActor(name="root", type="Root")
        self.board._take(BoardSnapshot(**{"root": root, "totals": ready, **fields}))  # type: ignore[arg-type] # its fields
        return self.view()


@pytest.fixture
def still() -> StillBoard:
    return StillBoard()


def test_before_the_first_snapshot(still: StillBoard) -> None:
    assert text_of(find(still.view(), tag="main")[0]) == "Loading …"


def test_a_service_that_is_not_ready_says_why(still: StillBoard) -> None:
    shown = still.show(totals=BoardTotals(detail="the store is down"))
    assert text_of(find(shown, class_="error")[0]) == "Not ready: the store is down"
    assert not find(still.show(), class_="error")


def test_an_actor_says_what_it_does(still: StillBoard) -> None:
    slow = BoardActor(
        name="slow", type="Worker", state=RUNNING, mailbox=3, mailbox_capacity=8, restarts=2,
        message="Work", busy_seconds=4.2,
    )  # fmt: skip
    given_up = BoardActor(name="up", type="W", state=ActorState.ACTOR_STATE_GIVEN_UP)
    group = ActorGroup(type="Session", state=RUNNING, actors=1234, mailbox=5)
    root = BoardActor(name="root", type="Root", children=[slow, given_up], others=[group])
    shown = still.show(root=root)
    said = [text_of(one) for one in find(shown, class_="actor")]
    assert said == [
        "root, Root, waiting",
        "slow3↻2, Worker, slow, 3 of 8 in its mailbox, restarted 2 times, Work for 4 s",
        "up, W, given up",
    ]
    assert [text_of(one) for one in find(shown, class_="group")] == ["1,234 Session"]
    assert find(shown, class_="is-given-up")
    assert find(shown, class_="is-slow")


def test_a_click_chooses_an_actor(still: StillBoard) -> None:
    shown = still.show(slow=[SlowHandler(path="root/a", message="Work", seconds=3, mailbox=1)])
    assert "Work: 3 s" in text_of(shown)
    still.board.chosen = "root"
    assert find(still.view(), class_="actor")[0].attributes["aria-pressed"] == "true"
    assert "Loading …" in text_of(find(still.view(), class_="report")[0])
    still.board.report = ActorReport()
    assert "There is no such actor now." in text_of(find(still.view(), class_="report")[0])
    actor = BoardActor(name="root", type="Root", handled=12_345, details="<b>fine</b>")
    still.board.report = ActorReport(actor=actor)
    text = text_of(find(still.view(), class_="report")[0])
    assert "handled12,345" in text
    assert "says<b>fine</b>" in text
    (close,) = find(still.view(), aria_label="Close")
    close.handlers["click"](Event("click"))
    assert still.board.chosen == ""


def test_sessions_and_conversations(still: StillBoard) -> None:
    shown = still.show(
        sessions=[
            BoardSession(name="s1", path="p/s1", connected=True, credit=0),
            BoardSession(name="s2", path="p/s2"),
        ],
        more_sessions=2000,
        conversations=[BoardConversation(id="c1", path="p/c1", followers=3)],
    )
    rows = [[text_of(cell) for cell in row.children] for row in find(shown, tag="tr")]
    assert rows[1][:2] + rows[1][-1:] == ["s1", "connected", "0"]
    assert rows[2][:2] + rows[2][-1:] == ["s2", "away", "unlimited"]
    assert ["c1", "idle", "3"] in [row[:3] for row in rows]
    assert "and 2,000 more" in text_of(shown)
    regions = find(shown, role="region")
    assert [one.attributes["tabindex"] for one in regions] == ["0", "0"]
    assert all(text_of(head) for head in find(shown, scope="col"))


def test_the_newest_event_comes_first(still: StillBoard) -> None:
    crashed = BoardEvent(
        number=2, kind=BoardEventKind.BOARD_EVENT_KIND_CRASHED, path="root/a", error="Boom", count=3
    )
    started = BoardEvent(number=1, kind=BoardEventKind.BOARD_EVENT_KIND_STARTED, path="root/a")
    shown = still.show(events=[started, crashed])
    words = [text_of(one) for one in find(shown, class_="word")]
    assert words == ["crashed, 3 times", "started"]
    assert "Boom" in text_of(find(shown, class_="events")[0])


def test_a_plot_ends_at_its_right_edge_and_is_said() -> None:
    shown = plot_view(Series("CPU", "%", (0.0, 50.0, 12.5)))
    (picture,) = find(shown, role="img")
    assert picture.attributes["aria-label"] == "CPU: 12.5% now, 50 at most"
    points = [
        point.split(",") for point in find(shown, tag="polyline")[0].attributes["points"].split()
    ]
    assert float(points[-1][0]) == WIDTH
    assert float(points[0][1]) == HEIGHT - 2
    assert float(points[1][1]) == 2


@pytest.mark.parametrize("values", [(), (1.0,)])
def test_a_plot_of_little_has_no_line(values: tuple[float, ...]) -> None:
    shown = plot_view(Series("x", "", values))
    assert find(shown, tag="polyline")[0].attributes["points"] == ""


def test_a_plot_of_zeros_is_a_line_at_the_bottom() -> None:
    points = find(plot_view(Series("x", "", (0.0, 0.0))), tag="polyline")[0].attributes["points"]
    assert points.endswith(f"{HEIGHT - 2:.1f}")
