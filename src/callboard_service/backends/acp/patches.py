"""Unified diffs of the changes that an agent reports as old and new text. No I/O."""

from collections.abc import Iterable, Iterator
from difflib import unified_diff
from typing import Final

from callboard.v1.chat_pb2 import FileDiff
from callboard_service.backends.fields import Table, name, text

MAX_DIFFS: Final = 1024 * 1024
"""Characters of the changes of one call; those beyond are left out."""

MAX_COMPARED: Final = 4000
"""Lines that are compared; beyond that, the whole text is shown as replaced."""

_NO_NEWLINE: Final = "\\ No newline at end of file\n"


def patches_of(changes: Iterable[Table]) -> tuple[list[FileDiff], bool]:
    """Return the diffs of ACP's `diff` contents, and whether all of them are there."""
    diffs: list[FileDiff] = []
    left, whole = MAX_DIFFS, True
    for change in changes:
        path, old, new = name(change, "path"), text(change, "oldText"), text(change, "newText")
        created = change.get("oldText") is None
        patch = patch_of(path, old, new, created=created) if len(old) + len(new) <= left else ""
        left -= len(path) + len(patch)
        if path and patch and left >= 0:
            diffs.append(FileDiff(path=path, patch=patch))
        elif not path or old != new:
            whole = False
    return diffs, whole


def patch_of(path: str, old: str, new: str, *, created: bool) -> str:
    """Return a unified diff; empty if nothing changes. created: there was no file."""
    before, after = old.splitlines(keepends=True), new.splitlines(keepends=True)
    source = "/dev/null" if created else path
    if len(before) + len(after) <= MAX_COMPARED:
        lines: Iterable[str] = unified_diff(before, after, source, path)
    elif old == new:
        lines = ()
    else:
        lines = _replaced(source, path, before, after)
    return "".join(line if line.endswith("\n") else f"{line}\n{_NO_NEWLINE}" for line in lines)


def _replaced(source: str, path: str, before: list[str], after: list[str]) -> Iterator[str]:
    yield f"--- {source}\n"
    yield f"+++ {path}\n"
    yield f"@@ -{1 if before else 0},{len(before)} +{1 if after else 0},{len(after)} @@\n"
    yield from (f"-{line}" for line in before)
    yield from (f"+{line}" for line in after)
