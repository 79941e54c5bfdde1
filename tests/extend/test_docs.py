"""The documentation works: every file that it shows is written, every command run, in order."""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from enum import Enum, auto
from pathlib import Path

import pytest

from tests.extend.pages import SERVES, Block, Reader, blocks, even, matches
from tests.extend.wheel import ROOT, lend, own_environment
from tests.support.peers.opencode_server import PROGRAM, isolated, need_opencode, running_opencode
from tests.support.peers.scripted_llm import MODEL, scripted_llm

# The timeout only ends tests that hang; none depends on time.
pytestmark = pytest.mark.timeout(600)


class By(Enum):
    """Which test below runs a block."""

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


class Walker(Reader):
    """A reader in an empty folder, whose virtual environment has the tests' packages."""

    def done(self, command: str) -> None:
        if command.startswith("python3 -m venv .venv"):
            lend(self.folder / ".venv")


def test_the_walk_works_from_the_wheel_in_an_empty_folder(tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    python = Path(sys.executable).parent
    # `lend` gives it pip, whose installation takes seven seconds of CPU time.
    venv = "python3 -m venv .venv"
    replaced = {"PATH_OF_THE_CHECKOUT": str(ROOT), venv: f"{venv} --without-pip"}
    walker = Walker(folder, own_environment(python, tmp_path), replaced)
    try:
        for block in of(By.WALK):
            walker.read(block)
    finally:
        walker.stop()


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Reader]:
    """A copy of the files that `make serve` and the examples need, as after `make setup`."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    stamp = Path(sys.prefix, ".installed")
    assert stamp.exists(), f"`make` has not made {sys.prefix}"
    (folder / ".venv").symlink_to(sys.prefix)
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
        os.utime(folder / name, (0, 0))  # older than the files made from it
    for name in ("docs", "examples", "src", "tools", "web"):
        (folder / name).symlink_to(ROOT / name)
    environment = own_environment(Path("/usr/bin"), tmp_path)
    # The Makefile prints this while it makes the virtual environment.
    installing = "Installing into .venv: a minute or two, some 1.2 GB, with the small model."
    assert installing.replace(".venv", "$(VENV)") in (ROOT / "Makefile").read_text()
    # And this when it builds the page, whose size changes with it.
    built = "Built the page: 7.9 MB in src/callboard_service/page"
    # The small model's answer varies.
    reply = "The capital of France is Paris."
    reader = Reader(folder, environment, said_once=(installing, built), said_freely=(reply,))
    try:
        yield reader
    finally:
        reader.stop()


def test_the_readmes_first_steps(checkout: Reader) -> None:
    for block in of(By.FIRST_STEPS):
        checkout.read(block)


def test_the_readmes_openai_server(checkout: Reader) -> None:
    with scripted_llm() as llm:
        checkout.replaced = {
            "http://127.0.0.1:11434/v1": llm.url,
            "CALLBOARD_OPENAI_API_KEY=...": "CALLBOARD_OPENAI_API_KEY=sk-scripted",
            "CALLBOARD_OPENAI_MODEL=...": f"CALLBOARD_OPENAI_MODEL={MODEL}",
        }
        for block in of(By.OPENAI):
            checkout.read(block)
        checkout.give('.venv/bin/callboard chat "Hello?"', "A title\n")
        checkout.stop()


def test_the_readmes_opencode_servers(checkout: Reader, tmp_path: Path) -> None:
    need_opencode()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "opencode").symlink_to(PROGRAM)
    path = f"{tmp_path / 'bin'}{os.pathsep}{checkout.environment['PATH']}"
    with scripted_llm() as llm, running_opencode(tmp_path / "peer", llm.url) as server:
        own = isolated(tmp_path / "own", llm.url)
        checkout.environment |= own | {"PATH": path}
        checkout.replaced = {
            "http://127.0.0.1:4096": server.url,
            "CALLBOARD_OPENCODE_PASSWORD=...": f"CALLBOARD_OPENCODE_PASSWORD={server.password}",
        }
        (block,) = of(By.OPENCODE)
        for command, output in block.commands():
            checkout.give(command, output)
            checkout.give('.venv/bin/callboard chat "Hello?"', "Understood.\n")
        checkout.stop()


def test_an_agent_behind_acp(checkout: Reader, tmp_path: Path) -> None:
    need_opencode()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "opencode").symlink_to(PROGRAM)
    path = f"{tmp_path / 'bin'}{os.pathsep}{checkout.environment['PATH']}"
    with scripted_llm() as llm:
        own = isolated(tmp_path / "own", llm.url)
        checkout.environment |= own | {"PATH": path, "CALLBOARD_ACP_ENVIRONMENT": ",".join(own)}
        first, *others = of(By.ACP)
        assert all(other.text == first.text for other in others)
        for command, output in first.commands():
            checkout.give(command, output)
        checkout.give('.venv/bin/callboard chat "Hello?"', "Understood.\n")
        checkout.stop()


def test_the_readmes_program(checkout: Reader) -> None:
    (program,) = of(By.PROGRAM)
    (checkout.folder / "program.py").write_text(program.text)
    checkout.give(".venv/bin/callboard serve --backend echo", "")
    checkout.give(".venv/bin/python program.py", "Hello!\n")


def test_the_examples(checkout: Reader) -> None:
    for block in of(By.EXAMPLES):
        checkout.read(block)


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_shows_code_that_nothing_runs(page: Path) -> None:
    for block in blocks(page):
        held = is_listed(block) or block.language in READ_ELSEWHERE
        assert held or runner_of(page, block), block.text
    # An indented command is not in a fenced block, so no test would run it.
    indented = re.compile(
        r"^(?: {4}|\t)(?:\$ |make |callboard [a-z]|python|pip |\. |\.venv|[A-Z_]+=)", re.MULTILINE
    )
    assert not indented.search(page.read_text(encoding="utf-8"))


def test_what_is_not_run_is_still_there() -> None:
    listed = [block for page in pages() for block in blocks(page) if is_listed(block)]
    assert len(listed) == len(NOT_RUN)


def test_the_shown_output_is_compared() -> None:
    assert matches("a\n...\nc\n", "a\nb\nc")
    assert not matches("a\n...\nc\n", "a\nb\nd")
    assert list(Block("console", "", "$ x\n1\n$ y\n").commands()) == [("x", "1\n"), ("y", "")]
    assert list(Block("sh", "", "x\ny\n").commands()) == [("x", "..."), ("y", "...")]
    assert SERVES.search("A=1 make serve")
    assert even("2026-11-22T22:30:01Z [info ] ready    pid=4") == even(
        "2026-01-01T00:00:00.123456Z [info ] ready pid=17"
    )
