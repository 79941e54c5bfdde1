"""A measured server in its own process."""

import json
import os
import platform
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Protocol, Self

import psutil

ROOT: Final = Path(__file__).parents[1]
TOKEN: Final = "0123456789abcdef" * 2
START_LIMIT: Final = 30.0


def pin(pid: int, core: int) -> bool:
    """Pin a process to one core; return False if the system does not allow it."""
    try:
        psutil.Process(pid).cpu_affinity([core])
    except (AttributeError, psutil.Error, OSError, ValueError):
        return False
    return True


class Program(Protocol):
    """What a server's process runs."""

    @property
    def arguments(self) -> list[str]:
        """The arguments for its interpreter."""


class ServerProcess:
    """One running server. Use `with` to end it.

    core: where it is pinned; None: where this process is. data: its data folder; None: a new one.
    more: environment variables besides the usual ones.
    """

    def __init__(
        self,
        program: Program,
        interpreter: Path,
        core: int | None,
        data: Path | None = None,
        more: Mapping[str, str] | None = None,
    ) -> None:
        self._folder = TemporaryDirectory(prefix="callboard-bench-")
        environment = {
            **os.environ,
            "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}",
            "CALLBOARD_TOKEN": TOKEN,
            "CALLBOARD_RUNTIME_DIR": self._folder.name,
            "CALLBOARD_DATA_DIR": self._folder.name if data is None else str(data),
            "CALLBOARD_MAX_SESSIONS": "20000",
            "CALLBOARD_MAX_REQUESTS_IN_FLIGHT": "20000",
            "CALLBOARD_MESSAGES_PER_SECOND": "1000000",
            "CALLBOARD_MESSAGE_BURST": "1000000",
            "CALLBOARD_BYTES_PER_SECOND": "1000000000",
            "CALLBOARD_BYTE_BURST": "1000000000",
            **(more or {}),
        }
        began = time.perf_counter()
        self._log = open(Path(self._folder.name, "log"), "wb")  # noqa: SIM115 - closed in stop
        self._process = subprocess.Popen(
            [str(interpreter), *program.arguments],
            cwd=self._folder.name,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=self._log,
            preexec_fn=None if core is None else (lambda: os.sched_setaffinity(0, [core])),
        )
        try:
            self.url = self._read_ready()
        except (RuntimeError, ValueError):
            self.stop()
            raise
        self.start_seconds = time.perf_counter() - began
        self._watched = psutil.Process(self._process.pid)

    def _read_ready(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._log.flush()
            said = Path(self._folder.name, "log").read_text(errors="replace")
            raise RuntimeError(f"{self._process.args!r} did not start:\n{said[-2000:]}")
        url = json.loads(line)["url"]
        assert isinstance(url, str)
        return url

    def cpu_seconds(self) -> float:
        """Return the CPU seconds used so far: to the nanosecond on Linux, otherwise to the tick."""
        if platform.system() == "Linux":
            # clock_getcpuclockid(3): the CPU clock of all threads of another process.
            return time.clock_gettime((~self._process.pid << 3) | 2)
        times = self._watched.cpu_times()
        return times.user + times.system

    def memory(self) -> int:
        """Return the resident bytes."""
        resident: int = self._watched.memory_info().rss
        return resident

    def stop(self) -> None:
        """End the process, after 15 seconds by force, and clean up."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._log.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
