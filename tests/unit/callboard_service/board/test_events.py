import gc
import weakref

from actors import (
    Blocked,
    ChildGivenUp,
    Crashed,
    DeadLetter,
    Event,
    Exit,
    Restarted,
    Started,
    Stopped,
    Stuck,
)
from callboard.board.v1.board_pb2 import BoardEvent, BoardEventKind
from callboard_service.board.events import KEPT, SHOWN, Events, to_timestamp

ROOM = 100_000


class Boom(Exception):
    pass


class Clock:
    """Seconds that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def kinds(events: Events) -> list[str]:
    return [
        BoardEventKind.Name(event.kind).removeprefix("BOARD_EVENT_KIND_")
        for event in events.shown(ROOM)
    ]


def test_each_kind_of_event_is_shown_without_its_contents() -> None:
    clock = Clock()
    events = Events(clock)
    told: list[Event] = [
        Restarted("s/a", 2),
        Crashed("s/a", Boom("a secret"), "Request", 0.5),
        Crashed("s/b", Boom("a secret"), "", None),
        ChildGivenUp("s/a", Boom("a secret"), escalated=False),
        Stuck("s/a", "Request", 2.0),
        Blocked("", "", 1.5, "/home/ada/actors.py:7 in receive"),
        DeadLetter("s/a", "Request"),
        Stopped("s/a", Exit.KILLED),
    ]
    for event in told:
        clock.now += 0.25
        events(event)
    stamps = [to_timestamp(1000 + number / 4) for number in range(1, 9)]
    kind = BoardEventKind
    assert events.shown(ROOM) == [
        BoardEvent(number=1, at=stamps[0], kind=kind.BOARD_EVENT_KIND_STARTED, path="s/a", count=2),
        BoardEvent(
            number=2, at=stamps[1], kind=kind.BOARD_EVENT_KIND_CRASHED, path="s/a",
            message="Request", error="Boom", seconds=0.5, count=1,
        ),
        BoardEvent(
            number=3, at=stamps[2], kind=kind.BOARD_EVENT_KIND_CRASHED, path="s/b", error="Boom",
            count=1,
        ),
        BoardEvent(
            number=4, at=stamps[3], kind=kind.BOARD_EVENT_KIND_GIVEN_UP, path="s/a", error="Boom",
            count=1,
        ),
        BoardEvent(
            number=5, at=stamps[4], kind=kind.BOARD_EVENT_KIND_STUCK, path="s/a",
            message="Request", seconds=2.0, count=1,
        ),
        BoardEvent(
            number=6, at=stamps[5], kind=kind.BOARD_EVENT_KIND_BLOCKED, seconds=1.5,
            where="actors.py:7 in receive", count=1,
        ),
        BoardEvent(
            number=7, at=stamps[6], kind=kind.BOARD_EVENT_KIND_DEAD_LETTER, path="s/a",
            message="Request", count=1,
        ),
        BoardEvent(
            number=8, at=stamps[7], kind=kind.BOARD_EVENT_KIND_STOPPED, path="s/a", where="killed",
            count=1,
        ),
    ]  # fmt: skip


def test_the_same_trouble_within_a_second_is_counted() -> None:
    clock = Clock()
    events = Events(clock)
    for _ in range(5):
        events(DeadLetter("s/a", "Request"))
        clock.now += 0.75
    events(DeadLetter("s/b", "Request"))
    clock.now += 1.0
    events(DeadLetter("s/b", "Request"))
    shown = events.shown(ROOM)
    assert [(event.path, event.count) for event in shown] == [("s/a", 5), ("s/b", 1), ("s/b", 1)]
    assert shown[0].at == to_timestamp(1000 + 4 * 0.75)


def test_a_start_is_never_counted_with_another() -> None:
    events = Events(Clock())
    events(Started("s/a"))
    events(Restarted("s/a", 1))
    assert [event.count for event in events.shown(ROOM)] == [0, 1]


def test_a_flood_of_dead_letters_hides_nothing_else() -> None:
    events = Events(Clock())
    events(Crashed("s/a", Boom(), "", None))
    for number in range(10 * KEPT):
        events(DeadLetter(f"s/{number}", "Request"))
    assert len(events.newest()) == KEPT + 1
    assert events.newest()[0].error == "Boom"
    assert kinds(events) == ["DEAD_LETTER"] * SHOWN


def test_the_newest_that_fit_are_shown() -> None:
    events = Events(Clock())
    for number in range(3):
        events(DeadLetter(f"s/{number}", "Request"))
    (last,) = events.shown(events.shown(ROOM)[-1].ByteSize() + 4)
    assert last.path == "s/2"


def test_only_an_actor_and_those_below_it_are_of_interest() -> None:
    before = Events(Clock())
    for path in ("s/a", "s/b", "s/a/1", "s/ab"):
        before(DeadLetter(path, "Request"))
    events = Events(Clock(), "s/a", before)
    for path in ("s/a/2", "s/b", "s"):
        events(DeadLetter(path, "Request"))
    assert [(event.number, event.path) for event in events.shown(ROOM)] == [
        (1, "s/a"),
        (2, "s/a/1"),
        (3, "s/a/2"),
    ]
    assert len(before.newest()) == 4


def test_no_error_is_kept() -> None:
    events = Events(Clock())
    error = Boom("a secret")
    gone = weakref.ref(error)
    events(Crashed("s/a", error, "", None))
    del error
    gc.collect()
    assert gone() is None
