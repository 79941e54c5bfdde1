"""Six type checkers, each as a function that returns the lines in which it finds errors."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias

import pytest

ROOT = Path(__file__).parents[2]
PYRIGHT = sorted(ROOT.glob(".build/pyright-*/node_modules/pyright/index.js"))
needs_pyright = pytest.mark.skipif(
    not PYRIGHT and os.environ.get("CI") != "true", reason="pyright needs npm: make peers"
)
BIN = Path(sys.executable).parent

Places: TypeAlias = set[tuple[str, int]]
"""File names and line numbers."""


class Checker(NamedTuple):
    """check: takes a folder with Python files and one with the installed package."""

    name: str
    check: Callable[[Path, Path], Places]


def run(folder: Path, *command: str | Path, **environment: str) -> str:
    """Run a checker and return what it prints."""
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env={**os.environ, "NO_COLOR": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def lines_of(printed: str, pattern: str) -> Places:
    """Find the places of errors in what is printed, except in the package itself."""
    found = re.finditer(pattern, printed, re.MULTILINE)
    return {
        (Path(match["file"]).name, int(match["line"]))
        for match in found
        if "site" not in Path(match["file"]).parts
    }


def mypy(folder: Path, site: Path) -> Places:
    """Run mypy, with strict settings."""
    cache = site.parent / "mypy"  # of the package, and of what that uses
    command = (sys.executable, "-m", "mypy", "--strict", "--cache-dir", cache, ".")
    printed = run(folder, *command, MYPYPATH=str(site))
    return lines_of(printed, r"^(?P<file>[^:]+):(?P<line>\d+): error:")


def zuban(folder: Path, site: Path) -> Places:
    """Run zuban, with strict settings."""
    python = f"--python-executable={sys.executable}"
    printed = run(folder, BIN / "zuban", "check", "--strict", python, ".", MYPYPATH=str(site))
    return lines_of(printed, r"^(?P<file>[^:]+):(?P<line>\d+): error:")


def _pyright(folder: Path, site: Path, *command: str | Path) -> Places:
    config = folder / "pyrightconfig.json"
    if not (folder / "pyproject.toml").exists():
        config.write_text(json.dumps({"extraPaths": [str(site)]}))
    printed = run(folder, *command, "--outputjson", "--pythonpath", sys.executable)
    return {
        (Path(each["file"]).name, each["range"]["start"]["line"] + 1)
        for each in json.loads(printed)["generalDiagnostics"]
        if each["severity"] == "error"
    }


def pyright(folder: Path, site: Path) -> Places:
    """Run pyright."""
    node = shutil.which("node")
    assert node is not None, "pyright needs node"
    return _pyright(folder, site, node, PYRIGHT[-1])


def basedpyright(folder: Path, site: Path) -> Places:
    """Run basedpyright."""
    return _pyright(folder, site, BIN / "basedpyright")


def ty(folder: Path, site: Path) -> Places:
    """Run ty."""
    where = (f"--python={sys.executable}", f"--extra-search-path={site}")
    printed = run(folder, BIN / "ty", "check", "--output-format=concise", *where, ".")
    return lines_of(printed, r"^(?P<file>[^:]+):(?P<line>\d+):\d+: error\[")


def pyrefly(folder: Path, site: Path) -> Places:
    """Run Pyrefly, with its default preset."""
    where = (f"--python-interpreter-path={sys.executable}", f"--search-path={site}")
    shown = ("--output-format=min-text", "--preset=default", "--search-path=.")
    own = () if (folder / "pyproject.toml").exists() else (*folder.glob("*.py"),)
    printed = run(folder, BIN / "pyrefly", "check", *shown, *where, *own)
    return lines_of(printed, r"^ *ERROR (?P<file>[^:]+):(?P<line>\d+):")


CHECKERS = (
    Checker("mypy", mypy),
    Checker("pyright", pyright),
    Checker("basedpyright", basedpyright),
    Checker("ty", ty),
    Checker("Pyrefly", pyrefly),
    Checker("zuban", zuban),
)
