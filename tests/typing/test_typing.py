"""Type checking as a feature: files that must pass, and files in which each wrong line must fail.

A line that ends with `# error: CODE` must have an error of mypy with that code; no other line may
have any. `test_checkers.py` runs other checkers on these files.
"""

import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
ACCEPTED = ROOT / "tests/typing/accepted"
REJECTED = ROOT / "tests/typing/rejected"
MARK = re.compile(r"# error: ([a-z-]+)$")


def marked(folder: Path) -> dict[tuple[str, int], str]:
    return {
        (path.name, number): found[1]
        for path in folder.glob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if (found := MARK.search(line))
    }


def mypy(folder: Path) -> dict[tuple[str, int], set[str]]:
    """Run mypy and return its error codes by file and line."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--output", "json", *map(str, folder.glob("*.py"))],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    found = defaultdict(set)
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            error = json.loads(line)
            if error["severity"] == "error":
                found[Path(error["file"]).name, error["line"]].add(error["code"])
    return dict(found)


def test_what_fits_is_accepted() -> None:
    assert mypy(ACCEPTED) == {}


def test_what_does_not_fit_is_rejected_where_it_stands() -> None:
    found, wanted = mypy(REJECTED), marked(REJECTED)
    assert len(wanted) > 30
    assert set(found) == set(wanted)
    assert not {place: found[place] for place, code in wanted.items() if code not in found[place]}
