"""Lays out a whole ask for a terminal: lines of the terminal's width, in pages of its height.

Text from the backend is marked: `|` begins a line of it, `:` continues a wrapped one. So no text
can be mistaken for an option or for a line of the chat itself.
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
"""The least columns of a layout. A narrower terminal wraps the lines by itself."""

UNWRAPPED: Final = 1 << 30
"""The width for output to a file or a pipe, where lines are not wrapped."""

_FIRST: Final = "  | "
_WRAPPED: Final = "  : "
_INDENT: Final = "   "
_ESCAPED_NEWLINE: Final = re.compile(r"(?<!\\)((?:\\\\)*\\n)(?!\")")
_SYMBOLS: Final = 0x2000
"""The first code point from which a terminal may draw two columns, whatever Unicode says."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line as it is printed. start: the position of its text within the whole sheet."""

    start: int
    text: str
    heading: bool


@dataclass(frozen=True, slots=True)
class Page:
    """Lines that are on the screen together.

    end: the position where the next page begins; None on the last page. number: counted from 1.
    of: the total number of pages.
    """

    lines: list[Line]
    end: int | None
    number: int
    of: int


@dataclass(frozen=True, slots=True)
class _Text:
    """A line of text before wrapping, with the prefixes of its first and its further parts."""

    text: str
    first: str
    wrapped: str
    heading: bool = False


class Sheet:
    """The whole content of an ask: its title, the pending tool call, the detail, the options.

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
            self._texts.append(_Text("the details of this tool call were not sent", "  ", "  "))
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
        """Add arguments as JSON, which is unambiguous.

        A newline within a string is printed as its escape, followed by a line break, so that a
        script of many lines is readable.
        """
        for line in json.dumps(value, ensure_ascii=False, sort_keys=True, indent=2).split("\n"):
            for number, part in enumerate(_ESCAPED_NEWLINE.sub("\\1\n", line).split("\n")):
                (spelled,) = spell_out(part, self._encoding)
                self._texts.append(_Text(spelled, _WRAPPED if number else _FIRST, _WRAPPED))

    def lines(self, width: int) -> list[Line]:
        """Return all lines, wrapped to `width` columns, or to NARROWEST if that is more."""
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
        """Return the page that begins with the line that contains the position `start`.

        number: the page's number, from 1.
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

    Joined, the parts are the line: nothing is left out. Cuts are made after a space if one is in
    the second half of the part.
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
    """Return the most columns that a terminal may use for a character."""
    if ord(character) >= _SYMBOLS or unicodedata.east_asian_width(character) in "WFA":
        return 2
    return 1
