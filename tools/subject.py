"""Check the subject of a commit message: `area: imperative`, at most 72 characters.

Run by pre-commit, with the file that holds the message.
"""

import re
import sys
from pathlib import Path
from typing import Final

SUBJECT: Final = re.compile(r"[A-Za-z0-9./_-]+: [^\s.].*[^\s.]")
MOST: Final = 72


def fault_of(message: str) -> str:
    """Return what is wrong with the first line of a message; an empty string if nothing is."""
    subject = message.partition("\n")[0]
    if len(subject) > MOST:
        return f"the subject has {len(subject)} characters; {MOST} are allowed"
    if not SUBJECT.fullmatch(subject):
        return "the subject must read `area: imperative`, without a full stop"
    return ""


def main() -> int:
    """Check the message in the file that is named on the command line."""
    fault = fault_of(Path(sys.argv[1]).read_text("utf-8"))
    if fault:
        print(fault, file=sys.stderr)
    return 1 if fault else 0


if __name__ == "__main__":
    sys.exit(main())
