"""Shows that the test of each guarantee can fail: `make mutants`.

Each change of `tests/unit/actors/mutants.toml` is made in a copy of `src`, and the one test that is
to notice it is run. The run fails if a test passes all the same, or if a change no longer applies.
"""

import argparse
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import wait
from pathlib import Path
from threading import Lock
from typing import Final, NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests" / "unit" / "actors"
PLACES: Final = (TESTS, ROOT / "tests" / "properties")
FAILED: Final = 1
"""pytest's exit code for tests that ran and failed, or took too long; else it is no proof."""

LIMIT: Final = 10
"""Seconds that a test may take; those of the runtime take none, so a change has made it hang."""

MEMORY: Final = 2 * 1024**3
"""Bytes of address space."""

UNUSED: Final = ("cacheprovider", "xdist", "aiohttp", "tapio")
"""Plugins that these tests do not use."""

FORKS: Final = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["pytest", "_pytest.python", "hypothesis", "pytest_asyncio.plugin"])
"""Each test runs in a fork of a process that has loaded what all need, and nothing of the project:
to load it takes longer than most tests."""

ONE_AT_A_TIME: Final = Lock()
"""Held by a thread that starts a process or asks for an exit code. To start one also collects the
exit codes of the others (CPython's multiprocessing.process._cleanup), each of which can be read
once: of two threads that read the same one, the second gets 255."""


class Mutant(NamedTuple):
    """One change, and the test that must fail under it.

    since: the Python that the changed code is for, and newer ones: "3.13".
    """

    test: str
    file: str
    old: str
    new: str
    since: str = "3.11"


def read_mutants() -> list[Mutant]:
    """All that are stated."""
    table = tomllib.loads((TESTS / "mutants.toml").read_text("utf-8"))
    return [Mutant(**entry) for entry in table["mutant"]]


def path_of(file: str) -> Path:
    """The test file with that name, wherever it is among the runtime's."""
    (path,) = (path for place in PLACES for path in place.rglob(f"{file}.py"))
    return path


def node_of(test: str) -> str:
    """Pytest's name for `test_file::test_name`."""
    file, _, name = test.partition("::")
    return f"{path_of(file).relative_to(ROOT)}::{name}"


def change(mutant: Mutant, source: Path) -> None:
    """Make the change. Raises ValueError if there is not exactly one place for it."""
    path = source / "actors" / mutant.file
    text = path.read_text("utf-8")
    if text.count(mutant.old) != 1:
        raise ValueError(f"{mutant.file}: {text.count(mutant.old)} places for {mutant.old!r}")
    path.write_text(text.replace(mutant.old, mutant.new), "utf-8")


def run_tests(source: Path, *nodes: str) -> tuple[int, str]:
    """Run tests on that source tree instead of the project's: pytest's exit code, and its words."""
    with tempfile.NamedTemporaryFile("r", encoding="utf-8") as words:
        process = FORKS.Process(target=run_pytest, args=(source, words.name, nodes))
        with ONE_AT_A_TIME:
            process.start()
        ended = wait([process.sentinel], 4 * LIMIT)
        with ONE_AT_A_TIME:
            if not ended:  # without memory its own watchman is dead too
                process.kill()
            process.join()
            code = process.exitcode
        if not ended or code is None:
            return FAILED, "did not end"
        return code, words.read()


def run_pytest(source: Path, words: str, nodes: tuple[str, ...]) -> None:
    """Be the process that runs them, and end with it."""
    # A change may make work without end, and messages with it.
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    said = os.open(words, os.O_WRONLY)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.chdir(ROOT)
    sys.dont_write_bytecode = True
    # Before the project that is installed; and this folder has names of libraries.
    others = [entry for entry in sys.path if entry != str(ROOT / "tools")]
    sys.path[:] = [str(ROOT), str(source), *others]
    code: int = pytest.ExitCode.INTERNAL_ERROR
    try:
        # By a thread: what a signal raises would be one more crash to the actor that it hits.
        code = pytest.main([
            "-q", "-x", "-Wignore::pytest.PytestAssertRewriteWarning",
            *(f"-pno:{plugin}" for plugin in UNUSED),
            f"--timeout={LIMIT}", "--timeout-method=thread", *nodes,
        ])  # fmt: skip
        if not Path(sys.modules["actors"].__file__ or "").is_relative_to(source):
            code = pytest.ExitCode.INTERNAL_ERROR
    finally:
        sys.stdout.flush()
        os._exit(code)  # whatever a change has left running


def is_for_this_python(mutant: Mutant) -> bool:
    """What it changes is used here."""
    return sys.version_info[:2] >= tuple(map(int, mutant.since.split(".")))


def judge(mutant: Mutant) -> str:
    """What is wrong with it; empty: its test fails, as it must."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "src"
        shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
        try:
            change(mutant, source)
        except ValueError as error:
            return str(error)
        code, words = run_tests(source, node_of(mutant.test))
    if code == FAILED:
        return ""
    if code == 0:
        return "passes all the same"
    return f"pytest ended with {code}:\n{words[-2000:]}"


def main() -> int:
    """Judge all, or those whose test has the given word in its name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("word", nargs="?", default="")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    named = [mutant for mutant in read_mutants() if options.word in mutant.test]
    mutants = [mutant for mutant in named if is_for_this_python(mutant)]
    if len(named) > len(mutants):
        print(len(named) - len(mutants), "are for a newer Python: not tried")
    code, words = run_tests(ROOT / "src", *sorted({node_of(mutant.test) for mutant in mutants}))
    if code:
        print("without any change:", words, sep="\n")
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
