"""Aggregates repeated log lines: the first is written at once, then one line per interval counts.

Anyone who can connect can cause log lines, even without a token; they must not fill the disk.

- A line equal to a recent one is counted and not written again.
- Lines of one event that differ (in their session, for example) are written up to a burst in each
  interval; the rest are counted.
- Different errors are never counted together. Errors that differ only in their session, request or
  actor are the same error.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, TypeAlias

INTERVAL: Final = 10.0
"""Seconds between two lines that report how often an event was repeated."""

LINES_PER_INTERVAL: Final = 20
"""The most different lines of one event that are written in each interval."""

MOST: Final = 1000
"""The most entries kept; the oldest is dropped first."""

_ERRORS: Final = frozenset({"error", "critical", "exception"})
_IDENTITY: Final = frozenset({"actor", "session", "request"})
_LONG: Final = frozenset({"exception", "exc_info", "stack"})

Fields: TypeAlias = Mapping[str, object]


@dataclass(slots=True)
class _Entry:
    """A line or group of lines: since `since`, how many were written and how many only counted."""

    fields: dict[str, object]
    since: float
    written: int = 1
    repeats: int = 0


class Repeats:
    """Decides which lines are written. now: returns the time in seconds. Thread-safe."""

    def __init__(
        self,
        now: Callable[[], float],
        *,
        interval: float = INTERVAL,
        burst: int = LINES_PER_INTERVAL,
    ) -> None:
        self._now = now
        self._interval = interval
        self._burst = burst
        self._lock = threading.RLock()
        self._entries: OrderedDict[tuple[object, ...], _Entry] = OrderedDict()
        self._evicted: list[dict[str, object]] = []

    def admit(self, level: str, event: str, fields: Fields) -> bool:
        """Return whether to write this line; otherwise count it. Debug lines are always written."""
        if level == "debug":
            return True
        with self._lock:
            exact = ("line", level, event, _digest(fields))
            if not self._count(exact, {**fields, "level": level, "event": event}, 1):
                return False
            group: tuple[object, ...] = ("event", level, event)
            common: dict[str, object] = {}
            if level in _ERRORS:
                common = {name: value for name, value in fields.items() if name not in _IDENTITY}
                group = ("error", level, event, _digest(common))
            if self._count(group, {**common, "level": level, "event": event}, self._burst):
                return True
            self._entries.pop(exact, None)  # from now on it is counted with its group
            return False

    def _count(self, key: tuple[object, ...], fields: dict[str, object], burst: int) -> bool:
        entry = self._entries.get(key)
        now = self._now()
        if entry is None or (not entry.repeats and now - entry.since >= self._interval):
            if entry is None and len(self._entries) >= MOST:
                self._evict()
            short = {name: value for name, value in fields.items() if name not in _LONG}
            self._entries[key] = _Entry(short, now)
            return True
        if entry.written < burst:
            entry.written += 1
            return True
        entry.repeats += 1
        return False

    def _evict(self) -> None:
        _, entry = self._entries.popitem(last=False)
        if entry.repeats:
            self._evicted.append(_summary(entry))

    def take_due(self, *, everything: bool = False) -> list[dict[str, object]]:
        """Return the fields of the counts that are due now, each with its number of `repeats`.

        everything: include counts that are not due yet, as at the end of the process.
        """
        with self._lock:
            now = self._now()
            due, self._evicted = self._evicted, []
            for key, entry in list(self._entries.items()):
                if not everything and now - entry.since < self._interval:
                    continue
                if entry.repeats:
                    due.append(_summary(entry))
                    entry.since, entry.repeats, entry.written = now, 0, 1
                else:
                    del self._entries[key]
            return due

    def next_due(self) -> float | None:
        """Return the seconds until a count is due; None if nothing is counted."""
        with self._lock:
            if self._evicted:
                return 0.0
            since = [entry.since for entry in self._entries.values() if entry.repeats]
            return max(min(since) + self._interval - self._now(), 0.0) if since else None


def _digest(fields: Fields) -> bytes:
    content = repr(sorted(fields.items(), key=lambda pair: pair[0]))
    return blake2b(content.encode(errors="backslashreplace"), digest_size=16).digest()


def _summary(entry: _Entry) -> dict[str, object]:
    return {**entry.fields, "repeats": entry.repeats}
