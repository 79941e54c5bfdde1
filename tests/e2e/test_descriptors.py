"""Standard descriptors that are closed when a command is started."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.contract_client import runtime_record
from tests.e2e.service_process import command, environment, running

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

CLOSED = {0: "<&-", 1: ">&-", 2: "2>&-"}
COMBINATIONS = [(0,), (1,), (2,), (0, 1, 2)]


def without(descriptors: tuple[int, ...], *arguments: str) -> list[str]:
    """Build a command line that starts the command with these descriptors closed."""
    closed = " ".join(CLOSED[descriptor] for descriptor in descriptors)
    return ["sh", "-c", f'exec "$@" {closed}', "sh", *command(*arguments)]


def target(pid: int, descriptor: int) -> str:
    return os.readlink(f"/proc/{pid}/fd/{descriptor}")


@pytest.mark.parametrize("closed", COMBINATIONS)
def test_a_service_with_closed_descriptors_has_the_null_device_there(
    tmp_path: Path, closed: tuple[int, ...]
) -> None:
    process = subprocess.Popen(
        without(closed, "serve", "--backend", "echo"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env=environment(tmp_path),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        try:
            while not list((tmp_path / "run").glob("*.json")):
                assert process.poll() is None
                os.sched_yield()
            assert runtime_record(tmp_path / "run")["pid"] == process.pid
            for descriptor in closed:
                assert target(process.pid, descriptor) == "/dev/null"
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["status"], 3),
        (["sessions", "list"], 3),
        (["chat", "hello"], 3),
        (["new", "fresh"], 0),
        (["serve", "--port", "none"], 2),
    ],
)
def test_a_command_with_closed_descriptors_ends_with_its_own_code(
    tmp_path: Path, arguments: list[str], code: int
) -> None:
    done = subprocess.run(
        without((0, 1, 2), *arguments),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
        env=environment(tmp_path),
    )
    assert done.returncode == code
    assert "Traceback" not in done.stderr


def test_a_command_without_standard_output_talks_to_a_service(tmp_path: Path) -> None:
    with running(tmp_path, "--backend", "echo"):
        for arguments in (["status"], ["status", "--json"], ["chat", "hi"]):
            done = subprocess.run(
                without((0, 1), *arguments),
                stderr=subprocess.PIPE,
                text=True,
                timeout=60,
                check=False,
                cwd=tmp_path,
                env=environment(tmp_path),
            )
            assert (done.returncode, done.stderr) == (0, ""), arguments


def test_a_model_process_with_closed_descriptors_has_the_null_device(tmp_path: Path) -> None:
    module = "callboard_service.backends.local.child"
    process = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, "-m", module, "--model", "nowhere"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        timeout=60,
        check=False,
        cwd=tmp_path,
        env=environment(tmp_path),
    )
    assert process.returncode == 2
    assert json.loads(process.stdout)["event"] == "failed"
