"""Shows that the test of each guarantee can fail: `make mutants`.

Each change of `tests/actors/mutants.toml` is made in a copy of `src`, and the one test that is to
notice it is run. The run fails if a test passes all the same, or if a change no longer applies.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests" / "actors"
FAILED: Final = 1
"""pytest's exit code for tests that ran and failed, or took too long; else it is no proof."""

LIMIT: Final = 10
"""Seconds that a test may take; those of the runtime take none, so a change has made it hang."""

MEMORY: Final = 2 * 1024**3
"""Bytes of address space."""


class Mutant(NamedTuple):
    """One change, and the test that must fail under it."""

    test: str
    file: str
    old: str
    new: str


def read_mutants() -> list[Mutant]:
    """All that are stated."""
    table = tomllib.loads((TESTS / "mutants.toml").read_text("utf-8"))
    return [Mutant(**entry) for entry in table["mutant"]]


def node_of(test: str) -> str:
    """Pytest's name for `test_file::test_name`."""
    file, _, name = test.partition("::")
    return f"tests/actors/{file}.py::{name}"


def change(mutant: Mutant, source: Path) -> None:
    """Make the change. Raises ValueError if there is not exactly one place for it."""
    path = source / "actors" / mutant.file
    text = path.read_text("utf-8")
    if text.count(mutant.old) != 1:
        raise ValueError(f"{mutant.file}: {text.count(mutant.old)} places for {mutant.old!r}")
    path.write_text(text.replace(mutant.old, mutant.new), "utf-8")


def run_tests(source: Path, *nodes: str) -> subprocess.CompletedProcess[str]:
    """Run tests on that source tree instead of the project's."""
    environment = os.environ | {"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    # Without the plugins that these tests do not use: a quarter of the time goes into loading them.
    # By a thread: what a signal raises would be one more crash to the actor that it hits.
    without = [f"-pno:{plugin}" for plugin in ("cacheprovider", "xdist", "aiohttp", "tapio")]
    command = [sys.executable, "-m", "pytest", "-q", "-x", *without,
               f"--timeout={LIMIT}", "--timeout-method=thread", *nodes]  # fmt: skip
    try:
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True,
            preexec_fn=limit_memory, timeout=4 * LIMIT,
        )  # fmt: skip
    except subprocess.TimeoutExpired:  # without memory its own watchman is dead too
        return subprocess.CompletedProcess(command, FAILED, "did not end", "")


def limit_memory() -> None:
    """A change may make work without end, and messages with it."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def judge(mutant: Mutant) -> str:
    """What is wrong with it; empty: its test fails, as it must."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "src"
        shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
        try:
            change(mutant, source)
        except ValueError as error:
            return str(error)
        result = run_tests(source, node_of(mutant.test))
    if result.returncode == FAILED:
        return ""
    if result.returncode == 0:
        return "passes all the same"
    return f"pytest ended with {result.returncode}:\n{result.stdout[-2000:]}"


def main() -> int:
    """Judge all, or those whose test has the given word in its name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("word", nargs="?", default="")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    mutants = [mutant for mutant in read_mutants() if options.word in mutant.test]
    unchanged = run_tests(ROOT / "src", *sorted({node_of(mutant.test) for mutant in mutants}))
    if unchanged.returncode:
        print("without any change:", unchanged.stdout, sep="\n")
        return 1
    with ThreadPoolExecutor(options.jobs) as pool:
        survivors = 0
        for mutant, fault in zip(mutants, pool.map(judge, mutants), strict=True):
            if fault:
                survivors += 1
                print(
                    f"{mutant.test}: {fault}\n    {mutant.file}: {mutant.new.strip()}", flush=True
                )
    print(f"{len(mutants) - survivors} of {len(mutants)} changes are noticed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
