"""The service as a user starts it: a process of its own, whose ready line says where it is."""

import asyncio
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import psutil

from tests.e2e.contract_client import Contract
from tests.support.bound import BOUND
from tests.support.forking import Copy, may_copy
from tests.support.forking import started as copied

ROOT = Path(__file__).parents[2]


class ServiceProcess:
    """A running `callboard serve`."""

    def __init__(self, process: "subprocess.Popen[bytes] | Copy", ready: Any, log: Path) -> None:
        self.process = process
        self.ready = ready
        self.log = log
        self.record = json.loads(Path(ready["runtime_file"]).read_text())
        self.url: str = ready["url"]
        self.token: str = self.record["token"]
        self.port = urlsplit(self.url).port or 0

    def connect(self, **hello: Any) -> Contract:
        """Make a client with the right token; it connects on `async with`."""
        return Contract(self.url, self.token, **hello)

    def children(self) -> list[psutil.Process]:
        """Return the processes that the service has started, and theirs."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def programs(self, *words: str) -> list[psutil.Process]:
        """Return those of `children` that run, and whose command line begins with these words."""
        found = []
        for child in self.children():
            with contextlib.suppress(psutil.NoSuchProcess):  # it is ending, or has ended
                if child.cmdline()[: len(words)] == [*words]:
                    found.append(child)
        return found

    async def metric(self, name: str) -> float:
        """Read one number from /metrics; 0 if it is not there yet."""
        headers = {"Authorization": f"Bearer {self.token}"}
        async with aiohttp.ClientSession() as http:
            response = await http.get(self.ready["page"] + "metrics", headers=headers)
            for line in (await response.text()).splitlines():
                if line.startswith(name + " "):
                    return float(line.rsplit(" ", 1)[1])
        return 0.0

    async def until(self, name: str, value: float) -> None:
        """Poll the metric until it has this value; only the test's timeout bounds the wait."""
        while await self.metric(name) != value:
            pass

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    async def wait(self) -> int:
        """Wait up to 30 s for the process to end and return its exit code."""
        return await asyncio.to_thread(self.process.wait, 30)


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """Make an environment in which the service touches nothing outside `folder`."""
    # Most users run without PYTHONUNBUFFERED, so that output is left to flush at the end.
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("CALLBOARD_") and key != "PYTHONUNBUFFERED"
    }
    return kept | {
        "CALLBOARD_RUNTIME_DIR": str(folder / "run"),
        "CALLBOARD_DATA_DIR": str(folder / "data"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        **({"PYTHONPATH": str(ROOT)} if BOUND else {}),
        **settings,
    }


def running(
    folder: Path, *flags: str, **settings: str
) -> contextlib.AbstractContextManager[ServiceProcess]:
    """Start a service, and stop it on exit in any case."""
    return logging_to(None, folder, *flags, **settings)


@contextlib.contextmanager
def logging_to(
    stderr: int | None, folder: Path, *flags: str, **settings: str
) -> Iterator[ServiceProcess]:
    """Like `running`, with this descriptor as standard error; None: the file `log`."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.txt"
    with log.open("ab") as log_file:
        process = started(
            ["serve", "--ready-json", *flags],
            folder,
            log_file.fileno() if stderr is None else stderr,
            **settings,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        try:
            assert select.select([process.stdout], [], [], 60)[0], "not ready within a minute"
            line = process.stdout.readline()
            assert line, f"the service did not start:\n{log.read_text()}"
            yield ServiceProcess(process, json.loads(line), log)
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def command(*arguments: str) -> list[str]:
    """Return the command line of the installed program with these arguments."""
    if BOUND:
        return [sys.executable, "-m", "tests.support.bound", *arguments]
    return [str(Path(sys.executable).with_name("callboard")), *arguments]


def started(
    arguments: Sequence[str], folder: Path, stderr: int, **settings: str
) -> "subprocess.Popen[bytes] | Copy":
    """Start the program with pipes for standard input and output."""
    if not BOUND and may_copy(settings):
        return copied(arguments, folder, environment(folder, **settings), stderr)
    return subprocess.Popen(
        command(*arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        cwd=folder,
        env=environment(folder, **settings),
    )


def run(folder: Path, *arguments: str, **settings: str) -> tuple[int, str, str]:
    """Run a command; return its exit code, standard output and standard error."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile() as stderr:
        process = started(arguments, folder, stderr.fileno(), **settings)
        assert process.stdin is not None
        assert process.stdout is not None
        with process.stdin, process.stdout:
            process.stdin.close()
            out = process.stdout.read()
        code = process.wait(60)
        stderr.seek(0)
        return code, out.decode(), stderr.read().decode()


def told(service: ServiceProcess, folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Run a command that finds this service by its runtime file."""
    runtime = str(Path(service.ready["runtime_file"]).parent)
    return run(folder, *arguments, CALLBOARD_RUNTIME_DIR=runtime)
