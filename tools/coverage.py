"""Check that each module of the runtime is fully covered, branches included, by its own tests.

`make coverage` runs these tests once with the coverage of each test file recorded separately. Each
module is then judged by its own test files alone, which are listed below.
"""

import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from coverage import Coverage

from actors.runtime.eager import EAGER
from tools.mutants import path_of

ROOT: Final = Path(__file__).parents[1]

RUNTIME: Final = {
    "runtime/actor": (
        "actor", "start", "cell", "watch", "background", "interceptors", "burst", "duplex",
        "named", "view",
    ),
    "runtime/ask": ("ask",),
    "protocol/block": ("output",),
    "protocol/connection": ("machine", "session"),
    "runtime/cell": (
        "actor", "ask", "cell", "start", "supervision", "ending", "runqueue", "system",
        "intensity", "shutdown", "group_restart", "misbehaving", "mailbox", "ref", "eager",
        "active_request", "watch"),
    "runtime/clock": ("system",),
    "protocol/close_codes": ("effects",),
    "runtime/crashes": ("crashes",),
    "runtime/cycles": ("cycles",),
    "runtime/deadlines": ("deadlines",),
    "requests/duplex": ("duplex", "memory"),
    "runtime/eager": ("eager", "request"),
    "protocol/effects": ("effects", "ended_by"),
    "protocol/endless": ("endless",),
    "protocol/encoding": ("machine", "burst", "memory", "texts"),
    "runtime/ending": (
        "ending", "ask", "misbehaving", "shutdown", "watch", "actor", "group_restart", "start"),
    "errors": ("mailbox", "start"),
    "runtime/events": ("events",),
    "protocol/failure": ("failure",),
    "runtime/children": ("supervision", "intensity", "shutdown", "group_restart", "start"),
    "protocol/frames": ("request", "stream", "session", "memory", "burst", "interceptors"),
    "sessions/request_memory": ("memory", "duplex"),
    "runtime/incarnation": (
        "cell", "ask", "mailbox", "watch", "group_restart", "named", "start"),
    "runtime/receiving": ("cell", "ask", "mailbox", "cycles", "system", "start"),
    "runtime/work": (
        "actor", "ask", "cell", "start", "supervision", "ending", "runqueue", "system",
        "intensity", "shutdown", "group_restart", "misbehaving", "mailbox", "ref", "eager",
        "active_request", "watch", "view"),
    "requests/event_log": ("event_log",),
    "requests/interceptors": ("interceptors",),
    "testing/interleavings": ("interleavings",),
    "protocol/answer_stream": ("answer_stream", "machine", "memory", "burst"),
    "protocol/limits": ("limits",),
    "runtime/log": ("request",),
    "runtime/loopwatch": ("loopwatch",),
    "protocol/machine": (
        "machine", "machine_properties", "endless", "burst", "session", "duplex", "memory"),
    "runtime/mailbox": ("mailbox",),
    "protocol/memory": ("memory",),
    "protocol/flow_control": ("output", "burst", "answer_stream", "memory", "machine"),
    "protocol/gathering": ("gathering",),
    "protocol/output": ("output", "burst", "answer_stream", "memory"),
    "protocol/replay_buffer": ("output",),
    "protocol/send_queue": ("output", "burst", "machine"),
    "runtime/spare_task": ("first_steps", "request", "active_request"),
    "protocol/stall_timeout": ("stall_timeout",),
    "protocol/texts": ("texts",),
    "requests/pull": ("relay", "stream", "burst", "interceptors"),
    "runtime/ref": (
        "ref", "ask", "actor", "mailbox", "watch", "supervision",
        "cycles", "burst", "background", "interceptors",
    ),
    "requests/named": ("named", "named_limits"),
    "requests/named_cell": ("named", "named_limits"),
    "requests/named_ref": ("named", "named_limits"),
    "requests/registry": ("registry", "background", "interceptors", "duplex", "named"),
    "runtime/group_restart": ("group_restart",),
    "requests/request": (
        "active_request", "ended_by", "request", "stream", "burst", "duplex", "interceptors",
        "background", "memory", "session_resume", "stalls"),
    "requests/background": ("background", "named"),
    "runtime/restart_decision": ("supervision", "intensity", "shutdown", "group_restart", "start"),
    "runtime/restarting": (
        "supervision", "intensity", "shutdown", "group_restart", "runqueue", "start"),
    "sessions/active_request": (
        "active_request", "ended_by", "eager", "request", "stream", "session", "burst", "duplex",
        "interceptors", "background", "session_resume", "memory", "stalls",
    ),
    "sessions/execution": (
        "active_request", "eager", "request", "stream", "session", "duplex", "interceptors",
        "burst", "background", "session_resume", "memory"),
    "sessions/request_states": ("active_request",),
    "runtime/runqueue": ("runqueue", "view"),
    "sessions/session": (
        "eager", "active_request", "session", "session_resume", "stream", "request", "burst",
        "duplex", "interceptors", "background", "session_supervisor", "memory",
    ),
    "sessions/messages": ("session", "session_resume", "burst", "interceptors"),
    "sessions/details": ("details",),
    "sessions/session_supervisor": ("session_supervisor", "session"),
    "sessions/policies": ("session",),
    "sessions/stalls": ("stalls", "session", "session_resume"),
    "runtime/states": ("states",),
    "runtime/supervision": ("intensity", "supervision"),
    "runtime/system": ("system", "events", "loopwatch", "view"),
    "testing/kit": ("testing",),
    "testing/calls": ("testing_calls", "duplex"),
    "runtime/turns": (
        "runqueue", "cell", "ask", "ref", "actor", "ending", "misbehaving", "supervision", "burst",
    ),
    "runtime/view": ("view",),
    "runtime/watch": ("watch", "start"),
}  # fmt: skip
"""All modules of `src/actors`, and the test files that must cover each of them."""

WITHOUT_EAGER: Final = r"(\bif|# where) EAGER\b"
"""Lines to exclude where no task starts eagerly (`actors.runtime.eager`: before Python 3.12). From
3.12 on they must be covered, and so must the code that replaces them on older versions
(`test_eager`)."""

NOTHING: Final = r"(?!)"
"""Matches no line."""

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
    # A real Ctrl-C goes through everywhere: test_crashes.py tries the one function.
    if not is_crash\\(
    if TYPE_CHECKING:
    @overload
    @abstractmethod
    assert_never\\(
    class \\w+\\(Protocol\\):
    {excluded}
"""


def main() -> int:
    """Run the tests once, judge each module and return the exit code."""
    sources = ROOT / "src" / "actors"
    modules = (path for path in sources.rglob("*.py") if path.stem != "__init__")
    found = {str(path.relative_to(sources).with_suffix("")) for path in modules}
    if found != set(RUNTIME):
        print("not in the table, or no more there:", *sorted(found ^ set(RUNTIME)))
        return 1
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "coveragerc"
        excluded = NOTHING if EAGER else WITHOUT_EAGER
        config.write_text(CONFIG.format(data=Path(folder) / "data", excluded=excluded), "utf-8")
        own_files = {file for own in RUNTIME.values() for file in own}
        files = sorted(str(path_of(f"test_{file}")) for file in own_files)
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
    """Return whether a module's own tests cover it fully; print the lines that they miss."""
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
