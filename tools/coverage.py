"""Shows that each module of the runtime is covered whole, branches too, by its own tests.

`make coverage` runs these tests once, marks what each test file reaches, and then looks at each
module through its own test files alone: `test_mailbox.py` for `mailbox.py`, or those named here.
"""

import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from coverage import Coverage

from actors.eager import EAGER
from actors.rounds import SEATS

ROOT: Final = Path(__file__).parents[1]

RUNTIME: Final = {
    "actor": ("actor", "start", "inbox", "watch", "residents", "interceptors", "burst", "duplex"),
    "ask": ("ask",),
    "block": ("output",),
    "carrier": ("machine", "session"),
    "cell": (
        "actor", "ask", "inbox", "start", "supervision", "ending", "runqueue", "system",
        "intensity", "shutdown", "regroup", "misbehaving", "mailbox", "ref", "eager", "run"),
    "clock": ("system",),
    "crashes": ("crashes",),
    "cycles": ("cycles",),
    "deadlines": ("deadlines",),
    "duplex": ("duplex", "memory"),
    "eager": ("eager", "request"),
    "effects": ("effects",),
    "encoding": ("machine", "burst", "memory"),
    "ending": ("ending", "misbehaving", "shutdown", "watch", "actor", "regroup", "start"),
    "errors": ("mailbox",),
    "events": ("events",),
    "failure": ("failure",),
    "family": ("supervision", "intensity", "shutdown", "regroup", "start"),
    "frames": ("request", "stream", "session", "memory"),
    "holding": ("memory", "duplex"),
    "inbox": ("inbox", "ask", "mailbox", "watch", "cycles", "regroup", "eager"),
    "interceptors": ("interceptors",),
    "interleavings": ("interleavings",),
    "lane": ("lane", "machine", "memory"),
    "limits": ("limits",),
    "log": ("request",),
    "loopwatch": ("loopwatch",),
    "machine": ("machine", "machine_properties", "burst", "session", "duplex", "memory"),
    "mailbox": ("mailbox",),
    "memory": ("memory",),
    "output": ("output", "burst", "lane", "memory"),
    "patience": ("patience",),
    "pull": ("relay", "stream", "burst", "interceptors", "rounds"),
    "ref": (
        "ref", "ask", "actor", "mailbox", "watch", "supervision",
        "cycles", "burst", "residents", "interceptors",
    ),
    "registry": ("registry", "residents", "interceptors", "duplex"),
    "regroup": ("regroup",),
    "request": (
        "run", "request", "stream", "burst", "duplex", "interceptors", "residents", "memory"),
    "residents": ("residents",),
    "restarting": ("supervision", "intensity", "shutdown", "regroup", "runqueue"),
    "rounds": ("rounds",),
    "run": (
        "run", "eager", "request", "stream", "session", "burst", "duplex",
        "interceptors", "residents", "session_resume", "memory", "stalls",
    ),
    "runqueue": ("runqueue",),
    "session": (
        "eager", "run", "session", "session_resume", "stream", "request", "burst",
        "duplex", "interceptors", "residents", "sessions", "memory",
    ),
    "session_messages": ("session", "session_resume", "burst", "interceptors"),
    "sessions": ("sessions", "session"),
    "stalls": ("stalls",),
    "supervision": ("intensity", "supervision"),
    "system": ("system", "events", "loopwatch"),
    "testing": ("testing",),
    "testing_calls": ("testing_calls", "duplex"),
    "turns": (
        "runqueue", "inbox", "ask", "ref", "actor", "ending", "misbehaving", "supervision", "burst",
    ),
    "watch": ("watch", "start"),
}  # fmt: skip
"""All modules of the runtime, and the test files that are theirs."""

WITHOUT_EAGER: Final = r"(\bif|# where) EAGER\b"
"""Where no task begins at once (`actors.eager`: before Python 3.12), what is marked so cannot be
reached. From 3.12 on all of it must be, and so must what stands in for it before (`test_eager`)."""

WITHOUT_SEATS: Final = r"(\bif|# where) SEATS\b"
"""The same for `actors.rounds`, before Python 3.13."""

NOTHING: Final = r"(?!)"
"""What no line matches."""

CONFIG: Final = """
[run]
branch = true
source = src/actors
data_file = {data}
[report]
# That no case is left out, mypy says (exhaustive-match); one that no test reaches is a line missed.
partial_also =
    ^\\s*case\\s
exclude_also =
    # A real Ctrl-C goes through everywhere: tests/actors/test_crashes.py tries the one function.
    if not is_crash\\(
    if TYPE_CHECKING:
    @overload
    @abstractmethod
    assert_never\\(
    class \\w+\\(Protocol\\):
    {excluded}
"""


def main() -> int:
    """Run the tests once and judge each module."""
    found = {path.stem for path in (ROOT / "src" / "actors").glob("*.py")} - {"__init__"}
    if found != set(RUNTIME):
        print("not in the table, or no more there:", *sorted(found ^ set(RUNTIME)))
        return 1
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "coveragerc"
        without = [*([] if EAGER else [WITHOUT_EAGER]), *([] if SEATS else [WITHOUT_SEATS])]
        excluded = "\n    ".join(without or [NOTHING])
        config.write_text(CONFIG.format(data=Path(folder) / "data", excluded=excluded), "utf-8")
        files = sorted({f"tests/actors/test_{file}.py" for own in RUNTIME.values() for file in own})
        coverage = [sys.executable, "-m", "coverage"]
        tests = subprocess.run(
            [*coverage, "run", f"--rcfile={config}", "-m", "pytest", "-q", "-p", "no:xdist",
             *files],
            cwd=ROOT, env=os.environ | {"COVERAGE_CORE": "ctrace"},
        )  # fmt: skip
        if tests.returncode:
            return tests.returncode
        measured = Coverage(config_file=str(config))
        measured.load()
        faults = sum(not is_whole(measured, module, own) for module, own in RUNTIME.items())
    print(f"{len(RUNTIME) - faults} of {len(RUNTIME)} modules are covered as they must be")
    return 1 if faults else 0


def is_whole(measured: Coverage, module: str, own: tuple[str, ...]) -> bool:
    """Look at one module through its own tests, and print what they do not reach."""
    text = io.StringIO()
    percent = measured.report(
        include=[f"src/actors/{module}.py"], contexts=["^$", *(f"^test_{file}$" for file in own)],
        show_missing=True, file=text,
    )  # fmt: skip
    if percent < 100:
        print(*(line for line in text.getvalue().splitlines() if "src/" in line), sep="\n")
    return percent >= 100


if __name__ == "__main__":
    sys.exit(main())
