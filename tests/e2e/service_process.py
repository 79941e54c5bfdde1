"""The service as a user starts it: its own process, found by its ready line."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil

from tests.e2e.contract_client import Contract


class ServiceProcess:
    """A running `callboard serve`."""

    def __init__(self, process: asyncio.subprocess.Process, ready: Any, log: Path) -> None:
        self.process = process
        self.ready = ready
        self.log = log
        self.record = json.loads(Path(ready["runtime_file"]).read_text())
        self.url: str = ready["url"]
        self.token: str = self.record["token"]
        self.port = int(self.url.rsplit(":", 1)[1].split("/")[0])

    def connect(self, **hello: Any) -> Contract:
        """A client with the right token."""
        return Contract(self.url, self.token, **hello)

    def children(self) -> list[psutil.Process]:
        """The processes that the service has started."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    async def wait(self) -> int:
        return await asyncio.wait_for(self.process.wait(), 30)


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """An environment in which the service touches nothing outside `folder`."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("CALLBOARD_")}
    return kept | {
        "CALLBOARD_RUNTIME_DIR": str(folder / "run"),
        "CALLBOARD_DATA_DIR": str(folder / "data"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        **settings,
    }


@contextlib.asynccontextmanager
async def running(folder: Path, *flags: str, **settings: str) -> AsyncIterator[ServiceProcess]:
    """Start a service and stop it, whatever happens."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.txt"
    with log.open("ab") as log_file:
        process = await asyncio.create_subprocess_exec(
            *command("serve", "--ready-json", *flags),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log_file,
            cwd=folder,
            env=environment(folder, **settings),
        )
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), 60)
        assert line, f"the service did not start:\n{log.read_text()}"
        yield ServiceProcess(process, json.loads(line), log)
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 20)
            except TimeoutError:
                process.kill()
                await process.wait()


def command(*arguments: str) -> list[str]:
    """The installed command line."""
    return [str(Path(sys.executable).with_name("callboard")), *arguments]


async def run(folder: Path, *arguments: str, **settings: str) -> tuple[int, str, str]:
    """Run a command to its end: exit code, standard output, standard error."""
    folder.mkdir(parents=True, exist_ok=True)
    process = await asyncio.create_subprocess_exec(
        *command(*arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=folder,
        env=environment(folder, **settings),
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()
