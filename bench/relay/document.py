"""Write the tables of a results file into the documentation, between their marks.

`python -m bench.relay.document [FILE]`; by default that of the last full run.
"""

import json
import re
import sys
from pathlib import Path
from typing import Final

from bench.process import ROOT
from bench.relay import summary
from bench.relay.run import RESULTS
from bench.relay.summary import Kept

_PAGES: Final = ("performance.md", "performance-appendix.md")
_TABLES: Final = {
    "goals": summary.goals,
    "asyncio": summary.goals_with_asyncio,
    "variants": summary.variants,
    "full": summary.full,
    "facts": summary.facts,
    "note": summary.note,
}


def filled(page: str, kept: Kept) -> str:
    """Return a page with what stands between `<!-- relay: NAME -->` and `<!-- end -->` replaced."""

    def replaced(found: re.Match[str]) -> str:
        return f"{found[1]}\n\n{_TABLES[found[2]](kept)}\n\n{found[3]}"

    return re.sub(r"(<!-- relay: (\w+) -->).*?(<!-- end -->)", replaced, page, flags=re.DOTALL)


def main() -> None:
    """Fill both pages."""
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS / "full.relay.json"
    kept: Kept = json.loads(file.read_text())
    for name in _PAGES:
        path = ROOT / "docs" / name
        path.write_text(filled(path.read_text(), kept))


if __name__ == "__main__":
    main()
