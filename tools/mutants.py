"""Check that the test of each guarantee can fail: `make mutants`.

Each change in `mutants.toml`, of the runtime and of the service, is applied to a copy of `src`, and
the one test that must notice it is run. This program fails if a test still passes or a change no
longer applies.
"""

import argparse
import compileall
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path
from threading import Lock
from typing import Final, NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests" / "unit" / "actors"
PLACES: Final = (TESTS, ROOT / "tests" / "properties")
OF_SERVICE: Final = ROOT / "tests" / "unit" / "callboard_service" / "mutants.toml"
FAILED: Final = 1
"""pytest's exit code if tests ran and failed or timed out; any other code proves nothing."""

LIMIT: Final = 10
"""Seconds that a test may take. Most tests are much faster, so a change made it hang."""

LIMIT_E2E: Final = 60
"""The same for a test that starts the service as a process."""

MEMORY: Final = 2 * 1024**3
"""Bytes of address space for each test process, and for each process that a test starts."""

UNUSED: Final = ("cacheprovider", "xdist", "aiohttp", "tapio")
"""Plugins that these tests do not need."""

FORKS: Final = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([
    "pytest", "_pytest.python", "hypothesis", "pytest_asyncio.plugin", "psutil", "structlog",
    "google.protobuf.json_format", "google.protobuf.wrappers_pb2",
])  # fmt: skip
"""Each test runs in a fork of a process that has loaded the common libraries, but nothing of the
project; loading these takes longer than most tests."""

ONE_AT_A_TIME: Final = Lock()
"""Held by a thread that starts a process or reads an exit code. Starting one also collects the exit
codes of the others (CPython's multiprocessing.process._cleanup), and each code can be read only
once: of two threads that read the same one, the second gets 255."""


class Mutant(NamedTuple):
    """One change, and the test that must fail because of it.

    test: pytest's node id, or `test_file::test_name` for the runtime. file: relative to `src`.
    since: the oldest Python that uses the changed code, such as "3.13".
    """

    test: str
    file: str
    old: str
    new: str
    since: str = "3.11"


def read_mutants() -> list[Mutant]:
    """Return all changes to the runtime."""
    found = _read(TESTS / "mutants.toml")
    return [mutant._replace(file=f"actors/{mutant.file}") for mutant in found]


def read_service_mutants() -> list[Mutant]:
    """Return all changes to the service."""
    return _read(OF_SERVICE)


def _read(path: Path) -> list[Mutant]:
    return [Mutant(**entry) for entry in tomllib.loads(path.read_text("utf-8"))["mutant"]]


def path_of(file: str) -> Path:
    """Return the path of the runtime's test file with that name."""
    (path,) = (path for place in PLACES for path in place.rglob(f"{file}.py"))
    return path


def node_of(test: str) -> str:
    """Return pytest's node id for a mutant's test."""
    file, _, name = test.partition("::")
    return test if "/" in file else f"{path_of(file).relative_to(ROOT)}::{name}"


def limit_of(nodes: Sequence[str]) -> int:
    """Return how many seconds each of these tests may take."""
    return LIMIT_E2E if any(node.startswith("tests/e2e/") for node in nodes) else LIMIT


def change(mutant: Mutant, source: Path) -> None:
    """Apply the change. Raises ValueError unless its text occurs exactly once."""
    path = source / mutant.file
    text = path.read_text("utf-8")
    if text.count(mutant.old) != 1:
        raise ValueError(f"{mutant.file}: {text.count(mutant.old)} places for {mutant.old!r}")
    path.unlink()  # the copies share their files
    path.write_text(text.replace(mutant.old, mutant.new), "utf-8")


def compiled(folder: Path) -> Path:
    """Copy `src` into the folder with its bytecode, which half of a test's time would go to."""
    source = folder / "src"
    shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
    if not compileall.compile_dir(source, quiet=2, workers=2):
        raise ValueError("src cannot be compiled")
    return source


def run_tests(source: Path, *nodes: str) -> tuple[int, str]:
    """Run tests on that source tree; return pytest's exit code and its output."""
    with tempfile.NamedTemporaryFile("r", encoding="utf-8") as words:
        process = FORKS.Process(target=run_pytest, args=(source, words.name, nodes))
        with ONE_AT_A_TIME:
            process.start()
        ended = wait([process.sentinel], 4 * limit_of(nodes))
        with ONE_AT_A_TIME:
            if not ended:  # out of memory, its own timeout thread may be dead too
                process.kill()
            process.join()
            code = process.exitcode
        assert process.pid
        with suppress(ProcessLookupError):  # a test that timed out leaves what it has started
            os.killpg(process.pid, signal.SIGKILL)
        if not ended or code is None:
            return FAILED, "did not end"
        return code, words.read()


def run_pytest(source: Path, words: str, nodes: tuple[str, ...]) -> None:
    """Run the tests in this process, then exit it."""
    os.setsid()
    # A change may cause endless work, and endless messages with it.
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    said = os.open(words, os.O_WRONLY)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.chdir(ROOT)
    sys.dont_write_bytecode = True
    # Search `source` before the installed project; `tools` has modules named like libraries.
    others = [entry for entry in sys.path if entry != str(ROOT / "tools")]
    sys.path[:] = [str(ROOT), str(source), *others]
    os.environ["PYTHONPATH"] = str(source)  # for the processes that a test starts
    code: int = pytest.ExitCode.INTERNAL_ERROR
    try:
        # Time out by thread: an actor would handle an exception from a signal as its crash.
        code = pytest.main([
            "-q", "-x", "-Wignore::pytest.PytestAssertRewriteWarning",
            *(f"-pno:{plugin}" for plugin in UNUSED),
            f"--timeout={limit_of(nodes)}", "--timeout-method=thread", *nodes,
        ])  # fmt: skip
        if not Path(sys.modules["actors"].__file__ or "").is_relative_to(source):
            code = pytest.ExitCode.INTERNAL_ERROR
    finally:
        sys.stdout.flush()
        os._exit(code)  # whatever the change has left running


def is_for_this_python(mutant: Mutant) -> bool:
    """Return whether this Python uses the code that the change is for."""
    return sys.version_info[:2] >= tuple(map(int, mutant.since.split(".")))


def judge(unchanged: Path, mutant: Mutant) -> tuple[str, str]:
    """Return what is wrong with a change, empty if its test fails, and what pytest said.

    unchanged: the source to change in a copy, with its bytecode; Python sees which file is new.
    """
    with tempfile.TemporaryDirectory(dir=unchanged.parent) as folder:
        source = Path(folder) / "src"
        shutil.copytree(unchanged, source, copy_function=os.link)
        try:
            change(mutant, source)
        except ValueError as error:
            return str(error), ""
        code, words = run_tests(source, node_of(mutant.test))
    if code == FAILED:
        return "", words
    if code == 0:
        return "passes all the same", words
    return f"pytest ended with {code}:\n{words[-2000:]}", words


def main() -> int:
    """Judge all changes, or those whose test's name contains the given word."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("word", nargs="?", default="")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--show", action="store_true", help="show how each test fails")
    options = parser.parse_args()
    listed = [*read_mutants(), *read_service_mutants()]
    named = [mutant for mutant in listed if options.word in mutant.test]
    mutants = [mutant for mutant in named if is_for_this_python(mutant)]
    if len(named) > len(mutants):
        print(len(named) - len(mutants), "are for a newer Python: not tried")
    code, words = run_tests(ROOT / "src", *sorted({node_of(mutant.test) for mutant in mutants}))
    if code:
        print("without any change:", words, sep="\n")
        return 1
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.jobs) as pool:
        survivors = 0
        judged = pool.map(partial(judge, compiled(Path(folder))), mutants)
        for mutant, (fault, words) in zip(mutants, judged, strict=True):
            if options.show:
                print(f"{mutant.file}: {mutant.new.strip()}", words, sep="\n", flush=True)
            if fault:
                survivors += 1
                print(
                    f"{mutant.test}: {fault}\n    {mutant.file}: {mutant.new.strip()}", flush=True
                )
    print(f"{len(mutants) - survivors} of {len(mutants)} changes are noticed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
