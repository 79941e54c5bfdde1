"""An ask laid out for a terminal, whole: lines of the terminal's width, in pages of its height.

What the backend said stands behind a mark: `|` begins a line of it, `:` continues one that was
wrapped. So no text can pass itself off as an option, or as a line of the chat's own.
"""

import json
import re
import unicodedata
from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

from callboard.v1.chat_pb2 import AskEvent, ToolCallEvent
from callboard_service.terminal.spelled import spell_out
from callboard_service.terminal.text import members

NARROWEST: Final = 12
"""Columns below which a terminal is not laid out for; it wraps by itself what is wider."""

UNWRAPPED: Final = 1 << 30
"""The width where lines are not wrapped: into a file or a pipe."""

_FIRST: Final = "  | "
_WRAPPED: Final = "  : "
_INDENT: Final = "   "
_ESCAPED_NEWLINE: Final = re.compile(r"(?<!\\)((?:\\\\)*\\n)(?!\")")
_SYMBOLS: Final = 0x2000
"""From here on a terminal may draw a character two columns wide, whatever Unicode says."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line as it is printed. start: where its text begins, counted over the whole sheet."""

    start: int
    text: str
    heading: bool


@dataclass(frozen=True, slots=True)
class Page:
    """Lines that are on the screen together.

    end: where the next page begins; None: this is the last one. number, of: 1-based.
    """

    lines: list[Line]
    end: int | None
    number: int
    of: int


@dataclass(frozen=True, slots=True)
class _Text:
    """A line of text before it is wrapped, and what stands before each part of it."""

    text: str
    first: str
    wrapped: str
    heading: bool = False


class Sheet:
    """All that an ask says: its title, the tool call that waits, the detail, the options.

    call: the tool call that the ask names, if it was announced. encoding: the terminal's.
    """

    def __init__(
        self, ask: AskEvent, call: ToolCallEvent | None = None, encoding: str = "utf-8"
    ) -> None:
        self._encoding = encoding
        self._texts: list[_Text] = []
        self._width = 0
        self._lines: list[Line] = []
        self._add(ask.title.strip() or "a question", "? ", heading=True)
        if call is not None:
            self._add_call(call)
        elif ask.call_id and ask.kind == AskEvent.KIND_PERMISSION:
            self._texts.append(
                _Text("the tool call that this is about was not announced", "  ", "  ")
            )
        if ask.detail.strip():
            self._add(ask.detail.rstrip("\n"), _FIRST)
        names = {choice.value: choice.name for choice in ask.choices}
        for number, option in enumerate(ask.options, 1):
            name = names.get(option, "")
            shown = f"{option} ({name})" if name and name != option else option
            self._add(shown, f"  {number}. ", _INDENT)

    def _add(self, text: str, first: str, indent: str = "", *, heading: bool = False) -> None:
        for number, line in enumerate(spell_out(text, self._encoding)):
            begin = first if number == 0 else indent + _FIRST
            self._texts.append(_Text(line, begin, indent + _WRAPPED, heading))

    def _add_call(self, call: ToolCallEvent) -> None:
        self._add(call.name or "a tool", "  tool: ", _INDENT)
        if call.title and call.title != call.name:
            self._add(call.title, _FIRST)
        if call.arguments.fields:
            self._add_json(members(call.arguments))
        for location in call.locations:
            self._add(f"{location.path}:{location.line}" if location.line else location.path,
                      "  at: ", _INDENT)  # fmt: skip

    def _add_json(self, value: object) -> None:
        """Add arguments as JSON, which says what they are beyond doubt.

        A newline within a string stays the escape that it is; what follows it starts a line of the
        terminal, so that a script of many lines can be read.
        """
        for line in json.dumps(value, ensure_ascii=False, sort_keys=True, indent=2).split("\n"):
            for number, part in enumerate(_ESCAPED_NEWLINE.sub("\\1\n", line).split("\n")):
                (spelled,) = spell_out(part, self._encoding)
                self._texts.append(_Text(spelled, _WRAPPED if number else _FIRST, _WRAPPED))

    def lines(self, width: int) -> list[Line]:
        """Return all lines, none wider than `width` columns if that is NARROWEST or more."""
        width = max(width, NARROWEST)
        if width != self._width:
            self._width, self._lines = width, self._wrap_all(width)
        return self._lines

    def _wrap_all(self, width: int) -> list[Line]:
        lines: list[Line] = []
        before = 0
        for text in self._texts:
            room = width - max(len(text.first), len(text.wrapped))
            for start, part in _wrap(text.text, max(room, 2)):
                lead = text.wrapped if start else text.first
                lines.append(Line(before + start, lead + part, text.heading))
            before += len(text.text) + 1
        return lines

    def page(self, start: int, width: int, height: int, *, number: int = 1) -> Page:
        """Return the page that begins with the line in which `start` is.

        number: how many pages were shown before, plus one.
        """
        lines = self.lines(width)
        first = max(bisect_right(lines, start, key=lambda line: line.start) - 1, 0)
        height = max(height, 1)
        after = first + height
        end = lines[after].start if after < len(lines) else None
        left = -(-(len(lines) - first) // height)
        return Page(lines[first:after], end, number, number - 1 + left)


def _wrap(text: str, room: int) -> list[tuple[int, str]]:
    """Return the parts of a line, each at most `room` columns wide, and where each begins.

    Nothing is left out: the parts together are the line. It is cut after a space where one is near.
    """
    if text.isascii() and len(text) <= room:
        return [(0, text)]
    parts: list[tuple[int, str]] = []
    start = 0
    while True:
        end = _end_of_part(text, start, room)
        if end < len(text):
            space = text.rfind(" ", start, end)
            if space - start >= (end - start) // 2:
                end = space + 1
        parts.append((start, text[start:end]))
        start = end
        if start >= len(text):
            return parts


def _end_of_part(text: str, start: int, room: int) -> int:
    if text.isascii():
        return min(start + room, len(text))
    end = start
    while end < len(text) and (end == start or room >= _columns(text[end])):
        room -= _columns(text[end])
        end += 1
    return end


def _columns(character: str) -> int:
    """Return the most columns that a terminal may need for a character."""
    if ord(character) >= _SYMBOLS or unicodedata.east_asian_width(character) in "WFA":
        return 2
    return 1
