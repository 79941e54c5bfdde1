"""Messages at the edge of the page."""

import pytest

from actors.protocol.failure import Code
from actors.testing import ManualClock
from callboard_page.notes import SHOWN_FOR, Notes, describe
from transport.errors import ConnectionClosed, RequestFailed, SessionLost, TransportError


class Seen:
    """Counts the changes."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


async def test_a_message_is_shown_for_ten_seconds() -> None:
    clock, changed = ManualClock(), Seen()
    notes = Notes(clock, changed)
    notes.tell("one")
    await clock.advance(SHOWN_FOR / 2)
    notes.fail(ValueError("two"))
    assert [(note.text, note.error) for note in notes.shown] == [
        ("one", False),
        ("The page has a fault: ValueError: two", True),
    ]
    await clock.advance(SHOWN_FOR / 2)
    assert [note.error for note in notes.shown] == [True]
    await clock.advance(SHOWN_FOR / 2)
    assert notes.shown == []
    assert changed.count == 4


async def test_a_message_that_was_dismissed_is_not_dismissed_again() -> None:
    clock, changed = ManualClock(), Seen()
    notes = Notes(clock, changed)
    notes.tell("one")
    (note,) = notes.shown
    notes.dismiss(note)
    notes.dismiss(note)
    await clock.advance(SHOWN_FOR)
    assert changed.count == 2


def test_a_note_is_acted_on_once() -> None:
    done: list[int] = []
    notes = Notes(ManualClock(), lambda: None)
    notes.offer("x", "Undo", lambda: done.append(1))
    (note,) = notes.shown
    assert note.action == "Undo"
    notes.act(note)
    notes.act(note)
    assert done == [1]
    assert notes.shown == []


def test_notes_have_different_numbers() -> None:
    notes = Notes(ManualClock(), lambda: None)
    for text in "abc":
        notes.tell(text)
    assert len({note.number for note in notes.shown}) == 3
    plain = notes.shown[0]
    plain.act()  # it does nothing


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (SessionLost(), "The connection was lost for too long. Please try that again."),
        (RequestFailed(Code.NOT_FOUND, "there is none"), "There is none."),
        (RequestFailed(Code.NOT_FOUND, "  "), "It failed."),
        (RequestFailed(Code.NOT_FOUND, "Really?"), "Really?"),
        (RequestFailed(Code.UNAVAILABLE, "busy", retryable=True), "Busy. You can try again."),
        (ConnectionClosed(1000, "bye"), "There is no connection to the service."),
        (TransportError("x"), "The page has a fault: TransportError: x"),
    ],
)
def test_what_a_person_should_know(error: Exception, said: str) -> None:
    assert describe(error) == said
