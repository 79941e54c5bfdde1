"""Tests that share a server run in one worker, in this pytest and xdist, and long tests first."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.sharing import FIRST, rank_of, unit_of

ROOT = Path(__file__).parents[1]

TEST = """
import os

def test_it():
    with open(os.environ["SEEN"], "a") as seen:
        print(os.environ["PYTEST_XDIST_WORKER"], __file__, file=seen)
"""
FILES = [f"tests/e2e/opencode/test_{name}.py" for name in "abcd"]
LAST = [f"tests/unit/test_{name}.py" for name in "abcd"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with this one's conftest, and tests that write down which worker runs them."""
    for name in ("conftest", "support/bound", "support/hangups", "support/sharing"):
        copy = tmp_path / "tests" / f"{name}.py"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "tests" / f"{name}.py", copy)
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    for name in (*FILES, *LAST):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(TEST)
    return tmp_path


def test_workers_keep_a_unit_together_and_take_the_longest_first(project: Path) -> None:
    seen = project / "seen"
    command = ["pytest", "-q", "-n2", "--dist=loadscope", "--import-mode=importlib", "tests"]
    environment = {"SEEN": str(seen), "PATH": ""}
    subprocess.run(
        [sys.executable, "-m", *command], cwd=project, env=environment, check=True, timeout=50
    )
    ran = [line.split() for line in seen.read_text().splitlines()]
    assert len(ran) == len(FILES) + len(LAST)
    workers = {worker for worker, path in ran if "opencode" in path}
    assert len(workers) == 1
    alone = [path for worker, path in ran if worker in workers]
    assert [Path(path).parent.name for path in alone[: len(FILES)]] == ["opencode"] * len(FILES)


@pytest.mark.parametrize(
    ("test", "unit"),
    [
        ("tests/test_idle.py::test_bytes[1]", "tests/test_idle.py"),
        ("tests/e2e/opencode/test_ends.py::test_x", "tests/e2e/opencode/"),
        ("tests/e2e/opencode/test_child.py::test_x", "tests/e2e/opencode/test_child.py"),
        ("tests/agents/test_x.py::test_y[qwen-text]", "tests/agents/test_x.py::test_y[qwen"),
        ("tests/agents/test_x.py::test_y[fast-agent]", "tests/agents/test_x.py::test_y[fast-agent"),
    ],
)
def test_the_unit_of_a_test(test: str, unit: str) -> None:
    assert unit_of(test) == unit


@pytest.mark.parametrize("start", FIRST)
def test_what_is_put_first_is_there(start: str) -> None:
    assert (ROOT / start).exists()
    assert rank_of(f"{start}::test") == FIRST.index(start)
