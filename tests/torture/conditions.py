"""Conditions that the harness itself causes, each as a context manager."""

import asyncio
import os
import signal
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Final

import psutil

from tests.e2e.service_process import command, environment
from tests.torture.plan import SILENCE, SILENCE_SETTING, Step
from tests.torture.service import Service
from transport import discovery
from transport.errors import NotRunning

HOURS: Final = (-26, -5, -1, 1, 5, 26)
LOOK: Final = 0.5
"""Seconds between two attempts to find the service by its runtime file."""

NOTICE: Final = 5.0
"""Seconds beyond the silence limit for a reply to be requested and the model to be ended."""

COMMAND: Final = 30.0
"""Seconds that a command or a second service may take."""


class Conditions:
    """Applies conditions to one service, and records in `wrong` what it finds wrong."""

    def __init__(self, service: Service) -> None:
        self.applied: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._service = service
        self._others = 0
        self._locks = asyncio.Lock()

    async def apply(self, step: Step) -> None:
        """Wait until a step begins, hold its condition until the step ends, and release it."""
        await asyncio.sleep(step.at)
        contexts: dict[str, Callable[[Step], AbstractAsyncContextManager[None]]] = {
            "log-stuck": self._log_stuck, "log-gone": self._log_gone, "log-full": self._nothing,
            "log-disk": self._disk, "disk": self._disk, "lock": self._lock, "clock": self._clock,
            "second": self._second, "status": self._status, "model-kill": self._model_kill,
            "model-stop": self._model_stop,
        }  # fmt: skip
        async with contexts[step.name](step):
            if step.until is None:
                await asyncio.get_running_loop().create_future()
            await asyncio.sleep(max(0.0, (step.until or 0.0) - step.at))

    @asynccontextmanager
    async def _nothing(self, step: Step) -> AsyncIterator[None]:
        self.applied[step.name] += 1
        yield

    @asynccontextmanager
    async def _log_stuck(self, step: Step) -> AsyncIterator[None]:
        log = self._service.log
        if log is not None:
            self.applied[step.name] += 1
            log.leave()
        try:
            yield
        finally:
            if log is not None:
                log.read()

    @asynccontextmanager
    async def _log_gone(self, step: Step) -> AsyncIterator[None]:
        if self._service.log is not None:
            self.applied[step.name] += 1
            self._service.log.close()
        yield

    @asynccontextmanager
    async def _disk(self, step: Step) -> AsyncIterator[None]:
        assert self._service.disk is not None
        filler = self._service.disk / f"filler-{step.at}"
        self.applied[step.name] += 1
        try:
            with filler.open("wb", buffering=0) as file, suppress(OSError):
                for size in (1024 * 1024, 4096):
                    with suppress(OSError):
                        while True:
                            os.write(file.fileno(), bytes(size))
            yield
        finally:
            filler.unlink(missing_ok=True)

    @asynccontextmanager
    async def _lock(self, step: Step) -> AsyncIterator[None]:
        path = self._service.data / "conversations.sqlite3"
        statement = "BEGIN EXCLUSIVE" if step.variant < 0.5 else "BEGIN IMMEDIATE"
        async with self._locks:  # one at a time, since a second would wait for the first
            connection = await asyncio.to_thread(_hold, path, statement)
            if connection is not None:
                self.applied[step.name] += 1
            try:
                yield
            finally:
                if connection is not None:
                    connection.close()

    @asynccontextmanager
    async def _clock(self, step: Step) -> AsyncIterator[None]:
        offset = HOURS[int(step.variant * len(HOURS))] * 3600
        start = self._service.plan.clock or 0
        self.applied[step.name] += 1
        self._service.set_clock(start + offset)
        try:
            yield
        finally:
            self._service.set_clock(start)

    @asynccontextmanager
    async def _model_kill(self, step: Step) -> AsyncIterator[None]:
        self._signal_model(step, signal.SIGKILL)
        yield

    @asynccontextmanager
    async def _model_stop(self, step: Step) -> AsyncIterator[None]:
        model = self._signal_model(step, signal.SIGSTOP)
        began = monotonic()
        try:
            yield
        finally:
            stopped = monotonic() - began
            if model is not None and is_too_silent(stopped) and model.is_running():
                self.wrong.append(f"a model that was stopped for {stopped:.0f} s was left alone")
            if model is not None:
                with suppress(psutil.Error):
                    model.send_signal(signal.SIGCONT)

    def _signal_model(self, step: Step, number: signal.Signals) -> psutil.Process | None:
        model = self._service.model()
        if model is not None:
            with suppress(psutil.Error):
                model.send_signal(number)
                self.applied[step.name] += 1
        return model

    # -- commands that look for the service ------------------------------------------------------

    @asynccontextmanager
    async def _status(self, step: Step) -> AsyncIterator[None]:
        async with self._command("status") as process:
            self.applied[step.name] += 1
            with suppress(TimeoutError):
                async with asyncio.timeout(COMMAND):
                    output, _ = await process.communicate()
            if process.returncode != 0:
                said = output.decode(errors="replace").strip() if process.returncode else ""
                self.wrong.append(f"`callboard status`: exit {process.returncode}: {said[-200:]}")
        yield

    @asynccontextmanager
    async def _second(self, step: Step) -> AsyncIterator[None]:
        self._others += 1
        try:
            async with self._command("serve", "--ready-json", "--backend", "echo") as process:
                self.applied[step.name] += 1
                assert process.stdout is not None
                with suppress(TimeoutError):
                    async with asyncio.timeout(COMMAND):
                        while line := await process.stdout.readline():
                            if line.startswith(b'{"event": "ready"'):
                                break
                        process.terminate()
                        await process.communicate()
        finally:
            self._others -= 1
        if not self._service.runtime_file.exists():
            self.wrong.append("a second service has removed the first one's runtime file")
        yield

    @asynccontextmanager
    async def _command(self, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
        folder = self._service.folder
        process = await asyncio.create_subprocess_exec(
            *command(*words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=folder,
            env=environment(folder, CALLBOARD_DATA_DIR=str(folder / "second")),
        )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def look(self) -> None:
        """Look for the service repeatedly, as a client does, until cancelled."""
        found_once = True
        while True:
            await asyncio.sleep(LOOK)
            if self._others:
                continue
            try:
                record = await asyncio.to_thread(discovery.find, self._service.folder / "run")
                found = record.pid == self._service.process.pid
            except NotRunning:
                found = False
            if not found and found_once and not self._others:
                self.wrong.append("the running service cannot be found by its runtime file")
                found_once = False


def is_too_silent(seconds: float) -> bool:
    """Return whether a model that was stopped for this long should have been ended."""
    return bool(SILENCE_SETTING) and seconds > SILENCE + NOTICE


def _hold(path: Path, statement: str) -> sqlite3.Connection | None:
    """Take the lock and return the connection that holds it; None if that fails."""
    try:
        connection = sqlite3.connect(
            f"file:{path}?mode=rw", uri=True, timeout=1.0, isolation_level=None,
            check_same_thread=False,
        )  # fmt: skip
    except sqlite3.Error:
        return None
    try:
        connection.execute(statement)
    except sqlite3.Error:
        connection.close()
        return None
    return connection


async def hold_all(conditions: Conditions, steps: list[Step], stack: AsyncExitStack) -> None:
    """Start all steps; leaving the stack ends them."""
    tasks = [asyncio.create_task(conditions.apply(step)) for step in steps]

    async def release() -> None:
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    stack.push_async_callback(release)
