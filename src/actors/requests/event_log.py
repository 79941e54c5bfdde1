"""A log of events that many readers follow, each at its own speed.

One actor appends; streams read. The log keeps its newest events up to a number of bytes, and more
while they are pinned. Nothing is stored for a reader, so one that stops reading costs nothing: when
it reads on, it gets everything since its position, or `Gap` if some of that is no longer kept.
(Offsets and gaps as in Durable Streams and Kafka; the writer's pacing is RSocket's `request(n)`
turned around: it is the fastest reader that lets the writer go on.)
"""

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

E = TypeVar("E")

WINDOW: Final = 1024
"""Bytes that the writer may be ahead of the fastest reader."""

PAGE: Final = 64 * 1024
"""Bytes that a reader takes at once, unless a single event is larger."""

AT_ONCE: Final = 512
"""Events that a reader passes on before others get a turn."""


class Gap(Exception):
    """Events after the reader's position are no longer kept, or the position is not in the log."""


class LogClosed(Exception):
    """The log has been closed, and the reader has read everything in it."""


class EventLog(Generic[E]):
    """Events in order of position. Create it in an actor, and bind it with `context.at_end`.

    keep_bytes: how many bytes of the newest events are kept. after: the position before the first
    event.
    """

    def __init__(self, keep_bytes: int, after: int = 0) -> None:
        self._keep_bytes = keep_bytes
        self._kept: deque[tuple[int, int, E]] = deque()
        """For each event: its position, its size, and the event."""
        self._dropped = 0
        self._bytes = 0
        self.unread: int = 0
        """Bytes appended since a pacing reader was at the end."""
        self._pin: int | None = None
        self._readers: set[EventReader[E]] = set()
        self._waiting: list[asyncio.Future[None]] = []
        self._taps: list[EventReader[E]] = []
        """Readers that are at the end and take the next event as it is appended."""
        self.writer: asyncio.Future[None] | None = None
        """Set while the writer waits for a reader."""
        self.closed: bool = False
        self.after: int = after
        """A reader at this position or a later one misses nothing."""
        self.last: int = after
        """The position of the newest event, or of what came before the first."""

    @property
    def bytes(self) -> int:
        """The bytes of the events that are kept."""
        return self._bytes

    @property
    def waiting(self) -> int:
        """The number of readers that wait for the next event."""
        return len(self._waiting)

    @property
    def end(self) -> int:
        """How many events have been appended."""
        return self._dropped + len(self._kept)

    # -- the writer --------------------------------------------------------------------------

    def append(self, event: E, position: int, size: int) -> bool:
        """Append an event of `size` bytes and wake the readers that wait.

        Returns whether the writer may go on: False while `is_ahead` is true. Raises ValueError if
        the position is not higher than the last one.
        """
        if position <= self.last:
            raise ValueError(f"position {position} does not follow {self.last}")
        if self.closed:
            return True
        self._kept.append((position, size, event))
        self._bytes += size
        self.unread += size
        self.last = position
        if self._bytes > self._keep_bytes:
            self._trim()
        if self._taps:
            for reader in self._taps if len(self._taps) == 1 else tuple(self._taps):
                reader.take_appended(event)
        if self._waiting:
            self._wake()
        return self.unread < WINDOW and bool(self._readers)

    def pin(self, after: int | None) -> None:
        """Keep every event after this position, whatever its size; None: no longer."""
        self._pin = after
        self._trim()

    def close(self) -> None:
        """End every reader once it has read what is there. Later events are ignored."""
        self.closed = True
        for reader in tuple(self._taps):
            reader.stop_taking()
        self._wake()
        self.let_writer_go_on()

    def is_ahead(self) -> bool:
        """Return whether WINDOW bytes were appended since a pacing reader was at the end.

        True without such a reader, False once the log is closed.
        """
        return not self.closed and (self.unread >= WINDOW or not self._readers)

    async def wanted(self) -> None:
        """Wait until `is_ahead` is false: until the fastest reader keeps up. For one writer."""
        while self.is_ahead():
            self.writer = asyncio.get_running_loop().create_future()
            try:
                await self.writer
            finally:
                self.writer = None

    # -- the readers -------------------------------------------------------------------------

    def covers(self, position: int) -> bool:
        """Return whether everything after this position is kept."""
        return self._place(position) is not None

    def reader(self, after: int, *, paces: bool = True) -> "EventReader[E]":
        """Return a reader of everything after this position; its `next` raises Gap if need be.

        paces: whether the reader paces the writer; if False, not before `pace` is called.
        """
        place = self._place(after)
        reader = EventReader(self, after, -1 if place is None else self._dropped + place)
        if paces:
            reader.pace()
        return reader

    def enter(self, reader: "EventReader[E]") -> None:
        """Count this reader among those that pace the writer."""
        self._readers.add(reader)
        self.let_writer_go_on()

    def read(self, index: int, at_most: int, *, paces: bool) -> tuple[list[E], int]:
        """Return events from the given one on, and the position of the last of them.

        Returns an empty list at the end of the log. at_most: bytes, but at least one event is
        returned. Raises Gap if the given event is no longer kept. Readers call this.
        """
        kept = self._kept
        place, end = self._place_of(index), len(self._kept)
        if place == end - 1:  # nearly always: the reader has waited for it
            last, _, event = kept[-1]
            if paces:
                self.unread = 0
            return [event], last
        events: list[E] = []
        last = 0
        while place < end and (at_most > 0 or not events):
            last, size, event = kept[place]
            if events and size > at_most:
                return events, kept[place - 1][0]
            at_most -= size
            events.append(event)
            place += 1
        if paces and place == end:
            self.unread = 0
        return events, last

    def read_one(self, index: int, *, paces: bool) -> tuple[int, E] | None:
        """Return the given event with its position; None at the end of the log.

        Raises Gap if it is no longer kept. Readers call this.
        """
        place = self._place_of(index)
        if place >= len(self._kept):
            return None
        if paces and place == len(self._kept) - 1:
            self.unread = 0
        position, _, event = self._kept[place]
        return position, event

    def tap(self, reader: "EventReader[E]") -> None:
        """Have this reader, which is at the end, take each event as it is appended."""
        self._taps.append(reader)

    def untap(self, reader: "EventReader[E]") -> None:
        """Stop passing appended events to this reader."""
        if reader in self._taps:
            self._taps.remove(reader)

    async def more(self) -> None:
        """Wait until an event is appended or the log is closed."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            await future
        finally:
            if not future.done() or future.cancelled():
                self._waiting = [other for other in self._waiting if other is not future]

    def leave(self, reader: "EventReader[E]") -> None:
        """Forget a reader."""
        self._readers.discard(reader)

    def let_writer_go_on(self) -> None:
        """Wake the writer if it waits: a reader has advanced."""
        if self.writer is not None and not self.writer.done():
            self.writer.set_result(None)

    # -- inside ------------------------------------------------------------------------------

    def _place(self, position: int) -> int | None:
        """Return the place of the first event after `position`; None if some are not kept."""
        if position == self.last:
            return len(self._kept)
        if position == self.after:
            return 0
        place = bisect_right(self._kept, position, key=lambda kept: kept[0])
        return place if place and self._kept[place - 1][0] == position else None

    def _place_of(self, index: int) -> int:
        """Return the place of the event with this number. Raises Gap if it is no longer kept."""
        place = index - self._dropped
        if place < 0:
            raise Gap
        return place

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def _trim(self) -> None:
        kept, pin = self._kept, self._pin
        while self._bytes > self._keep_bytes and kept and (pin is None or kept[0][0] <= pin):
            self.after, size, _ = kept.popleft()
            self._bytes -= size
            self._dropped += 1


class EventReader(Generic[E]):
    """One reader's place in a log. Close it when done.

    position: that of the newest event that it has taken. index: the number of the next event.
    paces: the writer goes on while this reader keeps up.
    """

    __slots__ = ("_log", "_pause", "_take", "index", "paces", "position")

    def __init__(self, log: EventLog[E], position: int, index: int) -> None:
        self._log = log
        self.position: int = position
        self.index: int = index
        self.paces: bool = False
        self._take: Callable[[E], bool] | None = None
        self._pause: asyncio.Future[bool] | None = None

    def pace(self) -> None:
        """Have the writer go on for the sake of this reader from now on."""
        if not self.paces:
            self.paces = True
            self._log.enter(self)

    def holds_up(self) -> bool:
        """Return whether the writer waits for this reader, and for all others that pace it."""
        return self.paces and self._log.writer is not None

    @property
    def behind(self) -> bool:
        """Whether there is something to read, or a gap, so that `next` does not wait."""
        return self.index < self._log.end or self._log.closed

    async def next(self, at_most: int = PAGE) -> list[E]:
        """Wait for events and return them in order; none is skipped.

        at_most: bytes. Raises Gap if some events after `position` are no longer kept, and LogClosed
        at the end of a closed log.
        """
        log = self._log
        while True:
            events, last = log.read(self.index, at_most, paces=self.paces)
            if log.writer is not None:
                log.let_writer_go_on()
            if events:
                self.index += len(events)
                self.position = last
                return events
            if log.closed:
                raise LogClosed
            await log.more()

    async def pass_to(self, take: Callable[[E], bool]) -> None:
        """Pass the events to `take`, in order, until it returns False; none is skipped.

        Once the reader is at the end of the log, `take` is called from `EventLog.append`, so no
        task is woken for an event. Raises what `take` raises, Gap and LogClosed as `next` does.
        """
        log, passed = self._log, 0
        while True:
            found = log.read_one(self.index, paces=self.paces)
            if log.writer is not None:
                log.let_writer_go_on()
            if found is None:
                break
            self.index += 1
            self.position = found[0]
            if not take(found[1]):
                return
            passed += 1
            if passed % AT_ONCE == 0:
                await asyncio.sleep(0)
        if log.closed:
            raise LogClosed
        self._pause = asyncio.get_running_loop().create_future()
        self._take = take
        log.tap(self)
        try:
            enough = await self._pause
        finally:
            log.untap(self)
            self._take = self._pause = None
        if not enough:
            raise LogClosed

    def take_appended(self, event: E) -> None:
        """Take the event that was just appended. The log calls this."""
        take, pause = self._take, self._pause
        assert take is not None
        assert pause is not None
        self.index += 1
        log = self._log
        self.position = log.last
        if self.paces:
            log.unread = 0
        try:
            if take(event):
                return
        except BaseException as error:  # noqa: BLE001 - raised by `pass_to`
            self._log.untap(self)
            if not pause.done():
                pause.set_exception(error)
            return
        self.stop_taking(enough=True)

    def stop_taking(self, *, enough: bool = False) -> None:
        """Let `pass_to` end. enough: `take` has returned False; else the log is closed."""
        self._log.untap(self)
        if self._pause is not None and not self._pause.done():
            self._pause.set_result(enough)

    def close(self) -> None:
        """Forget this reader."""
        self._log.untap(self)
        self._log.leave(self)
        self._log.let_writer_go_on()
