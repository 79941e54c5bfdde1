"""Which test runs each block of the documentation."""

from enum import Enum, auto
from pathlib import Path

from tests.extend.pages import Block, blocks
from tests.extend.wheel import ROOT


class By(Enum):
    """What runs a block: a test of test_docs.py, or for PROJECT one of test_new.py."""

    WALK = auto()
    FIRST_STEPS = auto()
    OPENAI = auto()
    OPENCODE = auto()
    ACP = auto()
    PROGRAM = auto()
    EXAMPLES = auto()
    PROJECT = auto()


TEMPLATE = ROOT / "src/callboard_service/template/README.md.txt"

NOT_RUN = {
    "$ make test\n": "it would run itself",
    "make bench ": "minutes, in an environment of its own that the network fills",
}
"""The beginnings of blocks that no test runs, and the reasons."""

READ_ELSEWHERE = {
    "frames": "tests/test_protocol_docs.py parses each frame",
    "hex": "tests/test_protocol_docs.py reads each frame",
}
"""Languages of blocks that are not run, and where they are read instead."""


def is_listed(block: Block) -> bool:
    return block.text.startswith(tuple(NOT_RUN))


def runner_of(page: Path, block: Block) -> By | None:
    match page.relative_to(ROOT).as_posix(), block.language:
        case "docs/extending.md", _:
            return By.WALK
        case "examples/README.md", "console":
            return By.EXAMPLES
        case "README.md", "python":
            return By.PROGRAM
        case "README.md", "console":
            return By.FIRST_STEPS
        case "README.md", "sh" if "OPENAI" in block.text:
            return By.OPENAI
        case "README.md", "sh" if "OPENCODE" in block.text:
            return By.OPENCODE
        case "README.md" | "docs/agents.md", "sh":
            return By.ACP
        case _ if page == TEMPLATE:
            return By.PROJECT
        case _:
            return None


def pages() -> list[Path]:
    """Every page that a reader may follow."""
    found = [path for folder in ("docs", "examples") for path in (ROOT / folder).rglob("*.md")]
    return sorted([*ROOT.glob("*.md"), *found, TEMPLATE])


def of(who: By) -> list[Block]:
    """Return the blocks that this test runs, without those in NOT_RUN."""
    found = [(page, block) for page in pages() for block in blocks(page)]
    mine = [block for page, block in found if runner_of(page, block) is who]
    assert mine
    return [block for block in mine if not is_listed(block)]
