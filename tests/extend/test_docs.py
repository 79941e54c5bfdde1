"""The documentation works: every file that it shows is written, every command run, in order."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.extend.pages import Reader
from tests.extend.runners import By, of
from tests.extend.wheel import ROOT, lend, own_environment
from tests.support.peers.opencode_server import PROGRAM, isolated, need_opencode, running_opencode
from tests.support.peers.scripted_llm import MODEL, scripted_llm

# The timeout only ends tests that hang; none depends on time.
pytestmark = pytest.mark.timeout(600)


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
