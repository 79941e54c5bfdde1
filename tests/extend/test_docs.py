"""The documentation is run: every file that it shows is written, every command given, in order.

In a block of `console`, a line with `$` is a command and what follows is its output, in which `...`
stands for anything. A command that ends with `&` goes on; the service is waited for.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.extend.wheel import ROOT, Installed

pytestmark = pytest.mark.xdist_group("wheel")  # built once

BLOCK = re.compile(r"^```(\w*)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass
class Block:
    language: str
    title: str
    text: str


def blocks(page: Path) -> list[Block]:
    return [Block(*found) for found in BLOCK.findall(page.read_text())]


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Each command, and the output that is shown for it."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def matches(shown: str, said: str) -> bool:
    pattern = re.escape(shown.rstrip()).replace(re.escape("..."), ".*")
    return re.fullmatch(pattern, said.rstrip(), re.DOTALL) is not None


@pytest.mark.timeout(180)
def test_the_walk_works_from_the_wheel_in_an_empty_folder(
    installed: Installed, tmp_path: Path
) -> None:
    services: list[subprocess.Popen[str]] = []
    try:
        for block in blocks(ROOT / "docs/extending.md"):
            if block.title:
                (tmp_path / block.title).write_text(block.text)
                continue
            assert block.language == "console", f"never run: {block.text}"
            for command, output in commands(block.text):
                if command.endswith(" &"):
                    services.append(start(installed, tmp_path, command.removesuffix(" &")))
                    continue
                done = installed.run("bash", "-c", command, cwd=tmp_path)
                assert matches(output, done.stdout), f"$ {command}\n{done.stdout}\n{done.stderr}"
    finally:
        for service in services:
            service.terminate()
            service.communicate(timeout=20)
    assert [service.returncode for service in services] == [0]


def start(installed: Installed, folder: Path, command: str) -> "subprocess.Popen[str]":
    """A service, once it is ready."""
    with (folder / ".log").open("w") as log:
        service = subprocess.Popen(
            ["bash", "-c", f"exec {command} --ready-json"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=folder,
            env=installed.environment(),
        )
    assert service.stdout is not None
    assert service.stdout.readline(), (folder / ".log").read_text()
    return service


def test_the_readmes_program_runs(installed: Installed, tmp_path: Path) -> None:
    (program,) = [b.text for b in blocks(ROOT / "README.md") if b.language == "python"]
    (tmp_path / "program.py").write_text(program)
    service = start(installed, tmp_path, "callboard serve --backend echo")
    try:
        out = installed.out(str(installed.python), "program.py", cwd=tmp_path)
    finally:
        service.terminate()
        service.communicate(timeout=20)
    assert out == "Hello!\n"


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_no_page_shows_code_that_nothing_runs(page: Path) -> None:
    run_above = {"extending.md"}
    unrun = [block for block in blocks(page) if page.name not in run_above]
    assert not [block.text for block in unrun if block.language in ("python", "console", "sh")]


def test_the_shown_output_is_compared() -> None:
    assert matches("a\n...\nc\n", "a\nb\nc")
    assert not matches("a\n...\nc\n", "a\nb\nd")
    assert list(commands("$ x\n1\n$ y\n")) == [("x", "1\n"), ("y", "")]
    assert os.linesep == "\n"
