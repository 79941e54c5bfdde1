"""The guardian's parts: what it finds, which process it signals, and what it says on its socket."""

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from callboard_service.backends.guarded import guardian
from callboard_service.launch import python_script
from tests.support.witness import Witness
from tests.unit.callboard_service.backends.guarded.processes import FAKE_PROGRAM

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")

SLEEP = "import signal; print('ready', flush=True); signal.pause()"
PYTHON = [sys.executable, "-I", "-S", "-c"]

DETACHED = f"""
import os
os.setsid()
if os.fork():
    os._exit(0)
{SLEEP.replace("'ready'", "os.getpid()")}
"""


@contextmanager
def process(*command: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process that says when it is ready; kill it at the end."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as started:
        try:
            yield started
        finally:
            started.kill()


def read_line(started: subprocess.Popen[bytes]) -> str:
    assert started.stdout is not None
    return started.stdout.readline().decode().strip()


def test_a_process_gets_a_signal_only_if_it_started_at_that_time() -> None:
    with process(*PYTHON, SLEEP) as started:
        read_line(started)
        at = guardian.find_in_proc()[started.pid]
        assert not guardian.send(started.pid, at + "1", signal.SIGKILL)
        assert guardian.send(started.pid, at, signal.SIGKILL)
        assert started.wait() == -signal.SIGKILL
        assert not guardian.send(started.pid, at, signal.SIGKILL)


@pytest.mark.skipif(not os.path.exists("/bin/ps"), reason="needs /bin/ps")
def test_ps_finds_children_and_marked_processes_that_left_them() -> None:
    with (
        process(*PYTHON, SLEEP) as child,
        process(*PYTHON, DETACHED, **{guardian.MARK: "5"}) as left,
    ):
        read_line(child)
        orphan = psutil.Process(int(read_line(left)))
        left.wait()
        found = guardian.find_with_ps("5")
        assert {child.pid, orphan.pid} <= set(found)
        assert os.getpid() not in found
        assert orphan.pid not in guardian.find_with_ps("6")
        orphan.kill()


class Guarded:
    """A guardian, and the service's end of its socket."""

    def __init__(
        self, *command: str, patch: str = "", inherited: Sequence[int] = (), **environment: str
    ) -> None:
        ours, theirs = socket.socketpair()
        run = python_script(guardian.__file__)
        if patch:
            folder = str(Path(guardian.__file__).parent)
            code = f"import sys; sys.path.append({folder!r}); import guardian; {patch}"
            run = [*PYTHON, f"{code}; guardian.main()"]
        with theirs:
            self.process = subprocess.Popen(
                [*run, str(theirs.fileno()), *command],
                pass_fds=[theirs.fileno(), *inherited],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
            )
        self._socket = ours
        self._lines = ours.makefile("r")

    def read(self) -> str:
        return self._lines.readline().strip()

    def write(self, line: str) -> None:
        self._socket.sendall(line.encode() + b"\n")

    def hang_up(self) -> None:
        """Close the socket, as the end of the service does."""
        self._lines.close()
        self._socket.close()

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.hang_up()
        self.process.wait()


@contextmanager
def guarded(
    *command: str, patch: str = "", inherited: Sequence[int] = (), **environment: str
) -> Iterator[Guarded]:
    made = Guarded(*command, patch=patch, inherited=inherited, **environment)
    try:
        yield made
    finally:
        made.close()


def test_it_says_that_an_agent_started_and_ended_and_then_ends() -> None:
    with guarded("/bin/sh", "-c", "read line; exit 4") as agent:
        assert agent.read().startswith("started ")
        assert agent.process.stdin is not None
        agent.process.stdin.close()
        assert [agent.read(), agent.read()] == ["ended 4", ""]
        assert agent.process.wait() == 0


def test_an_agent_has_no_descriptor_that_the_guardian_inherited() -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    list_open = "import os; print(*sorted(os.listdir('/proc/self/fd')))"
    with guarded(*PYTHON, list_open, inherited=[null]) as agent:
        # The fourth is that of the folder which lists them.
        assert read_line(agent.process) == "0 1 2 3"
    os.close(null)


def test_it_says_why_an_agent_was_not_started() -> None:
    with guarded("/no/such/program") as agent:
        assert [agent.read(), agent.read()] == ["failed 2", ""]


def test_it_terminates_at_the_earliest_time_that_it_was_told() -> None:
    with guarded(*PYTHON, f"import signal; signal.signal(15, signal.SIG_IGN); {SLEEP}") as agent:
        pid = int(agent.read().split()[1])
        assert read_line(agent.process) == "ready"
        agent.write("end 600 600\nend 0 0")
        assert [agent.read() for _ in range(4)] == [
            "sent SIGTERM 1",
            "sent SIGKILL 1",
            "ended -9",
            "",
        ]
        assert not psutil.pid_exists(pid)


@pytest.mark.skipif(not os.path.exists("/bin/ps"), reason="needs /bin/ps")
@pytest.mark.parametrize("end", ["end 0 0", "the agent ends", "the service ends"])
def test_without_a_subreaper_it_finds_processes_by_their_mark(tmp_path: Path, end: str) -> None:
    witness = Witness(tmp_path)
    words = ["stubborn", "detached", *([] if end == "the agent ends" else ["ignore", "deaf"])]
    patch = "import types; guardian.sys = types.SimpleNamespace(platform='darwin', argv=sys.argv)"
    with guarded(*FAKE_PROGRAM, *words, patch=patch, WITNESS=str(witness.path)) as agent:
        assert read_line(agent.process) == "ready"
        if end == "the agent ends":
            assert agent.process.stdin is not None
            agent.process.stdin.close()
            agent.write("end 0 0")
        elif end == "the service ends":
            agent.hang_up()
        else:
            agent.write(end)
        assert agent.process.wait() == 0
        assert witness.nobody_left()
    witness.close()


def test_it_gives_up_on_processes_that_it_may_not_signal() -> None:
    patch = "guardian.send = lambda *_: False; guardian.GIVE_UP = 0"
    with guarded(*PYTHON, SLEEP, patch=patch) as agent:
        pidfd = os.pidfd_open(int(agent.read().split()[1]))
        agent.write("end 0 0")
        assert [agent.read(), agent.read()] == ["left 1", ""]
        assert agent.process.wait() == 0
    # The kernel has killed it with its guardian. A zombie whose parent does not care is fine.
    assert select.select([pidfd], [], [], 30)[0] == [pidfd]
    os.close(pidfd)
