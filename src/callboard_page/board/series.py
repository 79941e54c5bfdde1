"""What the board remembers: a few minutes of numbers, made from counts that only grow."""

from collections import deque
from dataclasses import dataclass
from typing import Final

from callboard.board.v1.board_pb2 import BoardActor, BoardSnapshot

MOST_POINTS: Final = 150
"""Snapshots that are remembered: five minutes at one every two seconds."""


@dataclass(frozen=True, slots=True)
class Series:
    """A number over time. unit: what follows the newest one."""

    name: str
    unit: str
    values: tuple[float, ...]

    @property
    def newest(self) -> float:
        """The newest value; 0 if there is none."""
        return self.values[-1] if self.values else 0.0


_RATES: Final = (
    ("requests", "requests", "/s"),
    ("messages", "messages", "/s"),
    ("tokens", "tokens", "/s"),
    ("cpu", "CPU", "%"),
)
_LEVELS: Final = (
    ("actors", "actors", ""),
    ("memory", "memory", " MB"),
    ("held", "sessions hold", " MB"),
    ("restarts", "crashes, restarts", ""),
)


class Memory:
    """The newest snapshots' numbers, and the rates between them."""

    def __init__(self) -> None:
        self._values: dict[str, deque[float]] = {
            key: deque(maxlen=MOST_POINTS) for key, *_ in (*_RATES, *_LEVELS)
        }
        self._last: BoardSnapshot | None = None
        self._handled: dict[str, int] = {}
        self.rates: dict[str, float] = {}
        """Messages a second of each actor in the newest snapshot, by its path."""

    def add(self, snapshot: BoardSnapshot) -> None:
        """Remember a snapshot. One that is older, of a service that was restarted, begins anew."""
        last, self._last = self._last, snapshot
        if last is not None and snapshot.up_seconds <= last.up_seconds:
            for values in self._values.values():
                values.clear()
            self._handled, self.rates = {}, {}
            last = None
        handled = dict(_handled(snapshot.root, ""))
        if last is not None:
            seconds = snapshot.up_seconds - last.up_seconds
            self._add_rates(last, snapshot, seconds)
            self.rates = {
                path: (count - self._handled[path]) / seconds
                for path, count in handled.items()
                if path in self._handled and count >= self._handled[path]
            }
        self._handled = handled
        self._add_levels(snapshot)

    def _add_rates(self, last: BoardSnapshot, now: BoardSnapshot, seconds: float) -> None:
        before, after = last.totals, now.totals
        grown = {
            "requests": after.requests_ended - before.requests_ended,
            "messages": after.messages - before.messages,
            "tokens": after.output_tokens - before.output_tokens,
            "cpu": (after.cpu_seconds - before.cpu_seconds) * 100,
        }
        for key, value in grown.items():
            self._values[key].append(max(value, 0.0) / seconds)

    def _add_levels(self, snapshot: BoardSnapshot) -> None:
        totals = snapshot.totals
        levels = {
            "actors": float(totals.actors),
            "memory": totals.memory_bytes / 1e6,
            "held": totals.held_bytes / 1e6,
            "restarts": float(totals.crashes + totals.restarts),
        }
        for key, value in levels.items():
            self._values[key].append(value)

    @property
    def series(self) -> list[Series]:
        """What is plotted."""
        return [
            Series(name, unit, tuple(self._values[key])) for key, name, unit in (*_RATES, *_LEVELS)
        ]


def _handled(actor: BoardActor, above: str) -> list[tuple[str, int]]:
    """Return the path of each actor and how many messages it has handled."""
    path = path_of(above, actor)
    found = [(path, int(actor.handled))]
    for child in actor.children:
        found += _handled(child, path)
    return found


def path_of(above: str, actor: BoardActor) -> str:
    """Return the path of a child of the actor at `above`; empty: it is the root."""
    return f"{above}/{actor.name}" if above else actor.name
