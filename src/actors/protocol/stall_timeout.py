"""How long one waits for another who makes no progress."""

from typing import Final

LOOKS: Final = 8
"""Looks within the time that is given: what has not moved is found an eighth late at most."""


class StallTimeout:
    """Ends when, at every look for `seconds`, the mark was the same. Look each `interval`."""

    __slots__ = ("_mark", "_seconds", "_since", "interval")

    def __init__(self, seconds: float, mark: int, now: float) -> None:
        self.interval: float = seconds / LOOKS
        self._seconds = seconds
        self._mark = mark
        self._since = now

    def is_over(self, mark: int, now: float) -> bool:
        """Nothing has moved for the whole time."""
        if mark != self._mark:
            self._mark, self._since = mark, now
        return now - self._since >= self._seconds
