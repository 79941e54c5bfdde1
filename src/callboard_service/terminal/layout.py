"""Lays out text for a terminal in columns, and events of a reply in lines."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import dropwhile
from typing import Final, TypeAlias

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text

from callboard.v1.chat_pb2 import Attachment, FileDiff, PlanEntry, PlanEvent
from callboard_service.terminal.styles import ADDED, DIM, PLAIN, REMOVED, TOOL
from callboard_service.terminal.text import first_lines, more_lines, one_line, tame

Styled: TypeAlias = tuple[str, Style]
"""A line that is safe for a terminal, and its style."""

GAP: Final = "  "
SHORTEST: Final = 8
"""The least columns that the last column of a table gets, however narrow the screen is."""

DIFF_LINES: Final = 30
"""The most lines of the changes of one tool call."""

PLAN_ENTRIES: Final = 12
"""The most entries of a plan."""

_MARKS: Final = {
    PlanEntry.STATUS_COMPLETED: "[x]",
    PlanEntry.STATUS_IN_PROGRESS: "[>]",
}
_KIB: Final = 1024


def fit(text: str, room: int) -> str:
    """Return the text cut to `room` columns."""
    if cell_len(text) <= room:
        return text
    fitted = Text(text)
    fitted.truncate(room, overflow="ellipsis")
    return fitted.plain


def table(rows: Sequence[tuple[str, ...]], width: int, indent: str = GAP) -> list[str]:
    """Return rows of the same length as lines of at most `width` columns.

    Every column but the last is as wide as its widest cell; the last one is cut to fit. The cells
    must be safe for a terminal, and on one line.
    """
    if not rows:
        return []
    widths = [max(cell_len(row[n]) for row in rows) for n in range(len(rows[0]) - 1)]
    room = max(width - len(indent) - sum(widths) - len(GAP) * len(widths), SHORTEST)
    lines = []
    for row in rows:
        cells = [cell + " " * (w - cell_len(cell)) for cell, w in zip(row, widths, strict=False)]
        lines.append((indent + GAP.join([*cells, fit(row[-1], room)])).rstrip())
    return lines


def size_text(size: int) -> str:
    """Return a size in bytes for a person: "512 B", "12 KiB", "1.5 MiB"."""
    if size < _KIB:
        return f"{size} B"
    amount = size / _KIB
    for unit in ("KiB", "MiB", "GiB"):
        if amount < _KIB or unit == "GiB":
            break
        amount /= _KIB
    return f"{amount:.1f} {unit}" if amount < 10 else f"{amount:.0f} {unit}"


def attachment_text(attachment: Attachment) -> str:
    """Return an attachment as "[image a.png, 12 KiB]"."""
    kind = "image" if attachment.media_type.startswith("image/") else "file"
    name = one_line(attachment.name, 80) or "without a name"
    size = attachment.size or len(attachment.data)
    return f"[{kind} {name}, {size_text(size)}]" if size else f"[{kind} {name}]"


def message_lines(text: str, attachments: Iterable[Attachment], count: int) -> list[str]:
    """Return the first `count` lines of a message, and a line for each attachment."""
    lines = first_lines(text, count) if text else []
    return [*lines, *map(attachment_text, attachments)]


def plan_lines(plan: PlanEvent) -> Iterator[Styled]:
    """Yield a plan: how far it is, and its entries with their marks.

    If there are more than PLAN_ENTRIES, those are shown that begin before the first that is not
    done.
    """
    entries = plan.entries
    done = [entry.status == PlanEntry.STATUS_COMPLETED for entry in entries]
    yield f"plan: {sum(done)} of {len(entries)} done", DIM
    first = 0
    if len(entries) > PLAN_ENTRIES:
        begun = done.index(False) if not all(done) else len(entries)
        first = max(min(begun - 1, len(entries) - PLAN_ENTRIES), 0)
    shown = entries[first : first + PLAN_ENTRIES]
    if first:
        yield f"  … {first} before", DIM
    for entry in shown:
        now = entry.status == PlanEntry.STATUS_IN_PROGRESS
        mark = _MARKS.get(entry.status, "[ ]")
        yield f"  {mark} {one_line(entry.text, 100)}", PLAIN if now else DIM
    if more := len(entries) - first - len(shown):
        yield f"  … {more} more", DIM


def diff_lines(diffs: Sequence[FileDiff]) -> Iterator[Styled]:
    """Yield the changes of files, at most DIFF_LINES lines, and how many more there are."""
    left, more = DIFF_LINES, 0
    for diff in diffs:
        patch = list(dropwhile(_names_file, tame(diff.patch).strip("\n").split("\n")))
        added = sum(line.startswith("+") for line in patch)
        removed = sum(line.startswith("-") for line in patch)
        shown = patch[: max(left - 1, 0)]
        if left > 0:
            yield f"  {one_line(diff.path) or 'a file'} (+{added} -{removed})", TOOL
        else:
            more += 1
        for line in shown:
            yield f"  {''.join(first_lines(line, 1))}", _diff_style(line)
        left -= 1 + len(shown)
        more += len(patch) - len(shown)
    if more:
        yield f"  {more_lines(more)}", DIM


def _names_file(line: str) -> bool:
    return line.startswith(("--- ", "+++ ", "diff ", "index ", "Index: ", "======"))


def _diff_style(line: str) -> Style:
    match line[:1]:
        case "+":
            return ADDED
        case "-":
            return REMOVED
        case "@":
            return TOOL
        case _:
            return DIM
