"""The newest events of the actor system, as the board shows them.

Kept are names, classes and times, but no error: its traceback would keep the message that caused
it, and its text may quote one.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from actors import (
    Blocked,
    ChildGivenUp,
    Crashed,
    DeadLetter,
    Event,
    Restarted,
    Started,
    Stopped,
    Stuck,
)
from callboard.board.v1.board_pb2 import BoardEvent, BoardEventKind
from callboard_service.board.texts import NAME, WHERE, bounded, bounded_path

TROUBLE: Final = (Crashed, ChildGivenUp, Stuck, Blocked, DeadLetter)
"""The events that are kept while nobody watches."""

KEPT: Final = 200
"""Entries that are kept; of dead letters so many again, so that a flood hides nothing else."""

SHOWN: Final = 50
"""Entries of one answer."""

_IN_A_ROW: Final = 1.0
"""Seconds within which an event that repeats the one before it is counted with it."""

_LIFE: Final = (BoardEventKind.BOARD_EVENT_KIND_STARTED, BoardEventKind.BOARD_EVENT_KIND_STOPPED)
_DEAD_LETTER: Final = BoardEventKind.BOARD_EVENT_KIND_DEAD_LETTER


@dataclass(slots=True)
class Entry:
    """One event, or several equal ones in a row. at: seconds since the epoch, of the newest."""

    kind: BoardEventKind.ValueType
    path: str
    message: str = ""
    error: str = ""
    seconds: float | None = None
    where: str = ""
    count: int = 1
    at: float = 0.0
    number: int = 0

    def repeats(self, other: "Entry") -> bool:
        """Return whether this is the same trouble again, soon after the other."""
        return (
            self.kind not in _LIFE
            and self.at - other.at < _IN_A_ROW
            and self.kind == other.kind
            and self.path == other.path
            and self.message == other.message
            and self.error == other.error
        )


def entry_of(event: Event) -> Entry:
    """Return the event without what the board does not show."""
    match event:
        case Started(path):
            return Entry(BoardEventKind.BOARD_EVENT_KIND_STARTED, path, count=0)
        case Restarted(path, restarts):
            return Entry(BoardEventKind.BOARD_EVENT_KIND_STARTED, path, count=restarts)
        case Stopped(path, exit):
            return Entry(BoardEventKind.BOARD_EVENT_KIND_STOPPED, path, where=exit.value)
        case Crashed(path, error, message, restart_in):
            kind, name = BoardEventKind.BOARD_EVENT_KIND_CRASHED, type(error).__name__
            return Entry(kind, path, message, name, restart_in)
        case ChildGivenUp(path, error):
            kind, name = BoardEventKind.BOARD_EVENT_KIND_GIVEN_UP, type(error).__name__
            return Entry(kind, path, error=name)
        case Stuck(path, message, seconds):
            kind = BoardEventKind.BOARD_EVENT_KIND_STUCK
            return Entry(kind, path, message, seconds=seconds)
        case Blocked(path, message, seconds, where):
            kind = BoardEventKind.BOARD_EVENT_KIND_BLOCKED
            line = where.replace("\\", "/").rpartition("/")[2]  # no folder
            return Entry(kind, path, message, seconds=seconds, where=line)
        case DeadLetter(path, message):
            return Entry(_DEAD_LETTER, path, message)


def to_timestamp(seconds: float) -> Timestamp:
    """Return seconds since the epoch as a Timestamp."""
    stamp = Timestamp()
    stamp.FromMilliseconds(int(seconds * 1000))
    return stamp


class Events:
    """An observer that keeps the newest events.

    now: returns seconds since the epoch. path: keep only events of this actor and of those below
    it. Begins with what `before` has kept of them.
    """

    def __init__(
        self,
        now: Callable[[], float] = time.time,
        path: str = "",
        before: "Events | None" = None,
    ) -> None:
        self._now = now
        self._path, self._below = path, f"{path}/"
        self._number = 0
        self._entries: deque[Entry] = deque(maxlen=KEPT)
        self._dead_letters: deque[Entry] = deque(maxlen=KEPT)
        for entry in [] if before is None else before.newest():
            if self._is_wanted(entry.path):
                self._append(replace(entry))

    def __call__(self, event: Event) -> None:
        """Keep the event. `Blocked` comes from another thread; each step here is atomic."""
        if self._is_wanted(event.path):
            entry = entry_of(event)
            entry.at = self._now()
            self._append(entry)

    def newest(self, at_most: int = 2 * KEPT) -> list[Entry]:
        """Return the newest entries, the oldest of them first."""
        entries = [*tuple(self._entries), *tuple(self._dead_letters)]
        entries.sort(key=lambda entry: entry.number)
        return entries[-at_most:]

    def shown(self, room: int) -> list[BoardEvent]:
        """Return the newest entries as the board shows them, in at most `room` bytes."""
        found: list[BoardEvent] = []
        for entry in reversed(self.newest(SHOWN)):
            event = _shown(entry)
            room -= event.ByteSize() + 4
            if room < 0:
                break
            found.append(event)
        found.reverse()
        return found

    def _is_wanted(self, path: str) -> bool:
        return not self._path or path == self._path or path.startswith(self._below)

    def _append(self, entry: Entry) -> None:
        entries = self._dead_letters if entry.kind == _DEAD_LETTER else self._entries
        last = entries[-1] if entries else None
        if last is not None and entry.repeats(last):
            last.count += entry.count
            last.at = entry.at
            return
        self._number += 1
        entry.number = self._number
        entries.append(entry)


def _shown(entry: Entry) -> BoardEvent:
    event = BoardEvent(
        number=entry.number,
        at=to_timestamp(entry.at),
        kind=entry.kind,
        path=bounded_path(entry.path),
        message=bounded(entry.message, NAME),
        error=bounded(entry.error, NAME),
        count=entry.count,
        where=bounded(entry.where, WHERE),
    )
    if entry.seconds is not None:
        event.seconds = entry.seconds
    return event
