"""Tables, plans, changes of files and attachments in lines: layout.py."""

import pytest
from rich.cells import cell_len

from callboard.v1.chat_pb2 import Attachment, FileDiff, PlanEntry, PlanEvent
from callboard_service.terminal.layout import (
    DIFF_LINES,
    PLAN_ENTRIES,
    attachment_text,
    diff_lines,
    message_lines,
    plan_lines,
    size_text,
    table,
)
from callboard_service.terminal.styles import ADDED, DIM, REMOVED, TOOL

DONE, PENDING = PlanEntry.STATUS_COMPLETED, PlanEntry.STATUS_PENDING
PATCH = """--- a/x.py
+++ b/x.py
@@ -1,3 +1,3 @@
 one
-two
--- a comment
+three
"""


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (12_300, "12 KiB"),
        (3 * 1024**2 // 2, "1.5 MiB"),
        (5000 * 1024**3, "5000 GiB"),
    ],
)
def test_a_size_is_short(size: int, text: str) -> None:
    assert size_text(size) == text


def test_an_attachment_says_kind_name_and_size() -> None:
    assert attachment_text(Attachment(name="a\nb.png", media_type="image/png", size=12_300)) == (
        "[image a b.png, 12 KiB]"
    )
    assert attachment_text(Attachment(name="x", data=b"12")) == "[file x, 2 B]"
    assert attachment_text(Attachment()) == "[file without a name]"
    said = message_lines("one\ntwo\nthree", [Attachment(name="x", size=1)], 2)
    assert said == ["one", "two", "… 1 more line", "[file x, 1 B]"]
    assert message_lines("", [], 2) == []


def test_a_table_fits_the_screen() -> None:
    rows = [("1.", "日本", "a" * 100), ("10.", "b", "c")]
    lines = table(rows, 40)
    assert [line.index("b" if "10." in line else "日") for line in lines] == [7, 7]
    assert max(map(cell_len, lines)) == 40
    assert lines[0].endswith("…")
    assert lines[1] == "  10.  b     c"
    assert len(table(rows, 3)[0].split("  ")[-1]) == 8  # the least room of the last column
    assert table([], 40) == []


def test_a_change_of_a_file_is_coloured_and_counted() -> None:
    lines = list(diff_lines([FileDiff(path="x.py", patch=PATCH)]))
    assert lines == [
        ("  x.py (+1 -2)", TOOL),
        ("  @@ -1,3 +1,3 @@", TOOL),
        ("   one", DIM),
        ("  -two", REMOVED),
        ("  --- a comment", REMOVED),
        ("  +three", ADDED),
    ]


def test_many_changes_are_cut_and_counted() -> None:
    patch = "\n".join(f"+{number}" for number in range(20))
    diffs = [FileDiff(path=f"{n}", patch=patch) for n in range(5)]
    lines = [line for line, _ in diff_lines(diffs)]
    assert len(lines) == DIFF_LINES + 1
    assert lines[21] == "  1 (+20 -0)"
    assert lines[-1] == f"  … {5 * 21 - DIFF_LINES} more lines"


def plan(done: int, count: int) -> list[str]:
    """Return the lines of a plan of which the first entries are done."""
    entries = [
        PlanEntry(text=f"step {n}", status=DONE if n < done else PENDING) for n in range(count)
    ]
    return [line for line, _ in plan_lines(PlanEvent(entries=entries))]


def test_a_plan_is_a_list_with_marks() -> None:
    assert plan(1, 2) == ["plan: 1 of 2 done", "  [x] step 0", "  [ ] step 1"]
    assert plan(0, 0) == ["plan: 0 of 0 done"]


@pytest.mark.parametrize(
    ("done", "first", "last"),
    [
        (0, "  [ ] step 0", "  … 18 more"),
        (15, "  … 14 before", "  … 4 more"),
        (30, "  … 18 before", "  [x] step 29"),
    ],
)
def test_a_long_plan_is_shown_around_what_is_to_do(done: int, first: str, last: str) -> None:
    lines = plan(done, 30)[1:]
    assert (lines[0], lines[-1]) == (first, last)
    assert sum(line.startswith("  [") for line in lines) == PLAN_ENTRIES
