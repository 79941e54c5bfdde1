"""Short messages at the edge of the page: what failed, and what can be undone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from actors.runtime.clock import Clock
from transport.errors import ConnectionClosed, RequestFailed, SessionLost

SHOWN_FOR: Final = 10.0
"""Seconds."""


@dataclass(frozen=True, slots=True, eq=False)
class Note:
    """A message. action: the text of its button, empty for none. error: it is announced at once."""

    number: int
    text: str
    error: bool = False
    action: str = ""
    act: Callable[[], None] = lambda: None


class Notes:
    """The messages that are shown now, each for ten seconds or until it is dismissed."""

    def __init__(self, clock: Clock, changed: Callable[[], None]) -> None:
        self.shown: list[Note] = []
        self._clock = clock
        self._changed = changed
        self._last = 0

    def tell(self, text: str) -> None:
        """Show a message."""
        self._show(Note(self._number(), text))

    def offer(self, text: str, action: str, act: Callable[[], None]) -> None:
        """Show a message with a button; pressing it dismisses the message."""
        self._show(Note(self._number(), text, action=action, act=act))

    def fail(self, error: Exception) -> None:
        """Show what went wrong."""
        self._show(Note(self._number(), describe(error), error=True))

    def act(self, note: Note) -> None:
        """Do what a note's button offers."""
        if note in self.shown:
            self.dismiss(note)
            note.act()

    def dismiss(self, note: Note) -> None:
        """Show a note no longer."""
        if note in self.shown:
            self.shown.remove(note)
            self._changed()

    def _number(self) -> int:
        self._last += 1
        return self._last

    def _show(self, note: Note) -> None:
        self.shown.append(note)
        self._clock.call_later(SHOWN_FOR, lambda: self.dismiss(note))
        self._changed()


def describe(error: Exception) -> str:
    """Return what a person should know of an error."""
    match error:
        case SessionLost():
            return "The connection was lost for too long. Please try that again."
        case RequestFailed():
            again = " You can try again." if error.retryable else ""
            return f"{_sentence(error.message)}{again}"
        case ConnectionClosed():
            return "There is no connection to the service."
        case _:
            return f"The page has a fault: {type(error).__name__}: {error}"


def _sentence(text: str) -> str:
    text = text.strip() or "it failed"
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
