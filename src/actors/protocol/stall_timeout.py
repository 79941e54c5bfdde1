"""The stall timeout: how long a peer may make no progress."""

from typing import Final

LOOKS: Final = 8
"""Checks per timeout: a stall is detected at most an eighth of the timeout late."""


class StallTimeout:
    """Expires when every check for `seconds` has seen the same mark. Check once per `interval`."""

    __slots__ = ("_mark", "_seconds", "_since", "interval")

    def __init__(self, seconds: float, mark: int, now: float) -> None:
        self.interval: float = seconds / LOOKS
        self._seconds = seconds
        self._mark = mark
        self._since = now

    def is_over(self, mark: int, now: float) -> bool:
        """Return whether the mark has not changed for the whole timeout."""
        if mark != self._mark:
            self._mark, self._since = mark, now
        return now - self._since >= self._seconds
