"""Spells out foreign text, so that a person who approves it sees everything that it contains."""

import re
import unicodedata
from functools import lru_cache
from typing import Final

SPACES_SHOWN: Final = 32
"""The widest run of spaces and tabs, in columns, that is printed as spaces; others are counted."""

BLANK_LINES_SHOWN: Final = 2
"""The most blank lines in a row that are printed as they are; a longer run is counted."""

MARKS_SHOWN: Final = 2
"""The most combining marks on one character that are printed as they are."""

_TAB: Final = 4
_DELETE: Final = 0x7F
_PICTURES: Final = 0x2400
_RUN: Final = re.compile(r"[ \t]+")
_TOO_MANY: Final = " " * (SPACES_SHOWN + 1)
_NOT_PLAIN: Final = re.compile(r"[^\n\t -~]+")
_MARKS: Final = frozenset({"Mn", "Me"})

_UNSEEN_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp", "Zs"})
_UNSEEN: Final = frozenset(
    map(
        chr,
        (
            0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0, 0x13441, 0x13442,
            0x16FE4, 0x1D159,
            *range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0),
        ),
    )
)  # fmt: skip
"""Invisible letters, marks and symbols: fillers, joiners, variation selectors."""


def spell_out(text: str, encoding: str = "utf-8") -> list[str]:
    """Return the lines of the text, with every character that could hide something made visible.

    Control characters become control pictures or, like invisible characters and those that
    `encoding` lacks, a code such as `<U+200B>`. Long runs of spaces and of blank lines, which could
    push text off the screen, are replaced by their count. A carriage return that is not part of a
    line end is a control character.
    """
    text = text.replace("\r\n", "\n")
    text = _NOT_PLAIN.sub(lambda run: _spell_run(run.group(), encoding), text)
    lines = text.split("\n")
    if "\t" in text or _TOO_MANY in text:
        lines = [_RUN.sub(_count_spaces, line) for line in lines]
    return _count_blank(lines)


def _spell_run(run: str, encoding: str) -> str:
    spelled: list[str] = []
    marks = 0
    for character in run:
        shown, is_mark = _spell(character, encoding)
        marks = marks + 1 if is_mark else 0
        spelled.append(shown if marks <= MARKS_SHOWN else _code(character))
    return "".join(spelled)


@lru_cache(maxsize=4096)
def _spell(character: str, encoding: str) -> tuple[str, bool]:
    """Return the text for a character, and whether it is a mark drawn over the previous one."""
    code = ord(character)
    category = unicodedata.category(character)
    if code < ord(" "):
        shown = chr(_PICTURES + code)
    elif code == _DELETE:
        shown = "\N{SYMBOL FOR DELETE}"
    elif category in _UNSEEN_CATEGORIES or character in _UNSEEN:
        shown = _code(character)
    else:
        shown = character
    try:
        shown.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        shown = _code(character)
    return shown, shown == character and category in _MARKS


def _code(character: str) -> str:
    return f"<U+{ord(character):04X}>"


def _count_spaces(run: re.Match[str]) -> str:
    spaces, tabs = run.group().count(" "), run.group().count("\t")
    columns = spaces + tabs * _TAB
    if columns <= SPACES_SHOWN:
        return " " * columns
    counts = [f"{count} {name}" for count, name in ((spaces, "spaces"), (tabs, "tabs")) if count]
    return f"<{' and '.join(counts)}>"


def _count_blank(lines: list[str]) -> list[str]:
    shown: list[str] = []
    blank = 0
    for line in [*lines, None]:
        if line is not None and not line.strip():
            blank += 1
            continue
        shown += [""] * blank if blank <= BLANK_LINES_SHOWN else [f"<{blank} blank lines>"]
        blank = 0
        if line is not None:
            shown.append(line)
    return shown
