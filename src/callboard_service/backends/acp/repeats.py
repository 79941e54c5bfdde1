"""Find out whether an agent begins a text again that it does not mark as repeated. No I/O.

A retry repeats the text from its beginning, and begins with a piece of its own. What looks like
that may be meant, so it is only told, and nothing is taken back.
"""

from typing import Final

ENOUGH: Final = 60
"""Characters at the beginning of a text that must come again."""


class Repeats:
    """The text since the last tool call, as far as it is needed."""

    def __init__(self) -> None:
        self._head = ""
        self._again = ""
        """What of the newest pieces may be the beginning once more."""
        self._told = False

    def begins_again(self, piece: str) -> bool:
        """Take a piece of the text; return True once, when its beginning has come again."""
        if self._told:
            return False
        if len(self._head) < ENOUGH:
            self._head = (self._head + piece)[:ENOUGH]
            return False
        if not self._head.startswith((self._again + piece)[:ENOUGH]):
            self._again = ""
        if self._head.startswith((self._again + piece)[:ENOUGH]):
            self._again += piece
        self._told = len(self._again) >= ENOUGH
        return self._told
