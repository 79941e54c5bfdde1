"""Puts an ask to a person: shows all of it, and only then reads the answer."""

import os
import sys
from collections.abc import Callable
from typing import Final

from callboard.v1.chat_pb2 import AskEvent
from callboard_service.terminal.ask_answers import Answered, read_answers
from callboard_service.terminal.ask_layout import NARROWEST, Sheet
from callboard_service.terminal.errors import NotAnOption
from callboard_service.terminal.feed import Feed
from callboard_service.terminal.prompts import Prompts, Turn
from callboard_service.terminal.text import one_line
from callboard_service.terminal.view import Screen

UNKNOWN: Final = os.terminal_size((80, 10))
"""The size assumed for a terminal that reports none: small, so that nothing scrolls off unseen."""

Size = Callable[[], os.terminal_size]


def screen_size() -> os.terminal_size:
    """Return the size of the terminal on standard output; UNKNOWN if it reports none.

    LINES and COLUMNS in the environment are ignored: they may belong to another terminal.
    """
    try:
        size = os.get_terminal_size(sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):
        return UNKNOWN
    return os.terminal_size((size.columns or UNKNOWN.columns, size.lines or UNKNOWN.lines))


class Asking:
    """Shows asks on a screen, page by page, and reads their answers.

    size: returns the current size of the screen.
    """

    def __init__(self, screen: Screen, prompts: Prompts, size: Size = screen_size) -> None:
        self._screen = screen
        self._prompts = prompts
        self._size = size

    async def ask(self, ask: AskEvent, feed: Feed) -> Answered | None:
        """Show an ask and return its answers; None if it was settled in the meantime.

        Until the last page is shown the ask can only be refused. Keys pressed before a page is
        shown are dropped. Raises Interrupted.
        """
        hint = _hint(ask)
        turn = await self._show(self._screen.sheet(ask), hint, ask.ask_id, feed)
        if turn is None:
            return None
        if turn is Turn.REFUSE:
            self._screen.line("  declined")
            return Answered()
        return await self._answer(ask, hint, feed)

    async def _show(self, sheet: Sheet, hint: str, ask_id: str, feed: Feed) -> Turn | None:
        """Print the pages and return MORE once all are shown, REFUSE, or None if settled."""
        start, number = 0, 1
        while True:
            size = self._size()
            height = _height(size, hint)
            page = sheet.page(start, size.columns - 1, height, number=number)
            self._screen.sheet_lines(page.lines)
            self._prompts.keyboard.discard()
            if page.end is None:
                return Turn.MORE
            turn = await self._prompts.turn(_between(page.number, page.of), feed.settled(ask_id))
            if turn is not Turn.MORE:
                return turn
            if self._size() == size:  # otherwise it may have been cut off, and is shown again
                start, number = page.end, number + 1

    async def _answer(self, ask: AskEvent, hint: str, feed: Feed) -> Answered | None:
        while True:
            typed = await self._prompts.answer(hint, feed.settled(ask.ask_id))
            if typed is None:
                return None
            try:
                answered = read_answers(ask, typed)
            except NotAnOption as error:
                self._screen.failure(f"  {error}")
                continue
            if ask.options or not answered.answers:
                chosen = ", ".join(one_line(answer) for answer in answered.answers)
                self._screen.line(f"  {chosen or 'declined'}")
            return answered


def _height(size: os.terminal_size, hint: str) -> int:
    """Return how many lines of a page fit above the prompt."""
    if size.columns <= NARROWEST:
        return 1
    prompt = max(len(hint), len(_between(9999, 9999))) + len("  : ") + 1
    return max(size.lines - -(-prompt // size.columns), 1)


def _between(number: int, of: int) -> str:
    return f"-- page {number} of {of}; Enter shows more, r refuses -- "


def _hint(ask: AskEvent) -> str:
    if not ask.options:
        return "answer (empty: decline)"
    if ask.kind == AskEvent.KIND_PERMISSION:
        return "number or text, then `: reason` if you like (empty: decline)"
    if ask.multiple:
        return "numbers or texts separated by commas, or your own words (empty: decline)"
    return "number, text or your own words (empty: decline)"
