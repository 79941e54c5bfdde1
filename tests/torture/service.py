"""The service under test: a process whose memory is sampled and whose end is checked."""

import asyncio
import json
import os
import signal
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from time import monotonic
from typing import Any, Final

import psutil

from tests.e2e.service_process import command, environment
from tests.torture.checks import EXIT_SLACK, Exit, Sample
from tests.torture.log_pipe import LogPipe
from tests.torture.machine import fake_time_library
from tests.torture.plan import Plan

READY: Final = 60.0
SLEEP: Final = Path(__file__).with_name("clock")
"""A folder with a `sitecustomize` that makes time.sleep work under libfaketime."""

SAMPLE: Final = 0.1
OVERTIME: Final = 10.0
"""Seconds to wait for the service beyond its limit, to measure how late it ends."""

CHILDREN: Final = 2.0
"""Seconds that a child has to notice that the service has ended."""


class NotStarted(Exception):
    """The service was not ready in time, or ended before."""


class Service:
    """One `callboard serve`, with the settings of a plan."""

    def __init__(self, plan: Plan, folder: Path, disk: Path | None, stack: ExitStack) -> None:
        self.plan = plan
        self.folder = folder
        self.disk = disk
        self.samples: list[Sample] = []
        self.log: LogPipe | None = None
        self.ready: Any = None
        self.token = ""
        self.port = 0
        self.process: asyncio.subprocess.Process
        self._stack = stack
        self._children: dict[int, psutil.Process] = {}
        self._watched: psutil.Process

    @property
    def runtime_file(self) -> Path:
        """Return the file by which clients find the service."""
        return Path(self.ready["runtime_file"])

    @property
    def data(self) -> Path:
        """Return the folder of the conversations."""
        small = self.disk is not None and any(step.name == "disk" for step in self.plan.steps)
        assert not small or self.disk is not None
        return (self.disk if small and self.disk is not None else self.folder) / "data"

    async def start(self, model_port: int) -> None:
        """Start the process and wait until it is ready. Raises NotStarted."""
        self.process = await asyncio.create_subprocess_exec(
            *command("serve", "--ready-json", "--backend", self.plan.backend),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=self._standard_error(),
            cwd=self.folder,
            env=self._environment(model_port),
            start_new_session=True,
        )
        if self.log is not None:
            self.log.started()
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(READY):
                line = await self.process.stdout.readline()
        except TimeoutError:
            line = b""
        if not line:
            raise NotStarted("the service did not become ready")
        self.ready = json.loads(line)
        self.token = json.loads(self.runtime_file.read_text())["token"]
        self.port = int(self.ready["url"].rsplit(":", 1)[1].partition("/")[0])
        self._watched = psutil.Process(self.process.pid)
        self.sample(children=True)

    def _standard_error(self) -> int:
        if self.plan.log == "pipe":
            self.log = LogPipe(self.folder / "log.txt")
            self._stack.callback(self.log.close)
            return self.log.outer
        path = Path("/dev/full")
        if self.plan.log == "disk" and self.disk is not None:
            path = self.disk / "log.txt"
        return self._stack.enter_context(path.open("ab", buffering=0)).fileno()

    def _environment(self, model_port: int) -> dict[str, str]:
        settings = {f"CALLBOARD_{k.upper()}": v for k, v in self.plan.settings.items()}
        settings["CALLBOARD_DATA_DIR"] = str(self.data)
        if self.plan.backend == "openai":
            settings["CALLBOARD_OPENAI_BASE_URL"] = f"http://127.0.0.1:{model_port}/v1"
        library = fake_time_library()
        if self.plan.clock is not None and library is not None:
            self.set_clock(self.plan.clock)
            settings |= {
                "LD_PRELOAD": str(library),
                "FAKETIME_TIMESTAMP_FILE": str(self.folder / "clock"),
                "FAKETIME_NO_CACHE": "1",
                "DONT_FAKE_MONOTONIC": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                # Otherwise, each wait for CPython's interpreter lock takes up to a second.
                "FAKETIME_FORCE_MONOTONIC_FIX": "0",
                "NO_FAKE_STAT": "1",
                "PYTHONPATH": os.pathsep.join((str(SLEEP), os.environ.get("PYTHONPATH", ""))),
            }
        return environment(self.folder, **settings)

    def set_clock(self, offset: int) -> None:
        """Make the service's wall clock wrong by this many seconds."""
        draft = self.folder / "clock.new"
        draft.write_text(f"{offset:+d}\n")
        draft.replace(self.folder / "clock")

    # -- while it runs ---------------------------------------------------------------------------

    def sample(self, *, children: bool) -> None:
        """Record the memory of the processes; with `children`, look for new children first."""
        with suppress(psutil.Error):
            if children:
                for child in self._watched.children(recursive=True):
                    self._children.setdefault(child.pid, child)
            alone = together = self._watched.memory_info().rss
            for child in self._children.values():
                with suppress(psutil.Error):
                    together += child.memory_info().rss
            self.samples.append(Sample(monotonic(), alone, together))

    async def watch(self) -> None:
        """Take samples until cancelled."""
        number = 0
        while True:
            await asyncio.sleep(SAMPLE)
            number += 1
            self.sample(children=number % 3 == 0)

    def model(self) -> psutil.Process | None:
        """Return the model's process; None if it is not running."""
        with suppress(psutil.Error):
            for child in self._watched.children(recursive=True):
                with suppress(psutil.Error):
                    if any("backends.local.child" in word for word in child.cmdline()):
                        return child
        return None

    # -- its end ---------------------------------------------------------------------------------

    async def end(self, signals: Sequence[tuple[float, str]], drain: float) -> Exit:
        """Send the signals, wait for the end, and return how the service ended."""
        self.sample(children=True)
        numbers = tuple(int(signal.Signals[name]) for _, name in signals)
        began = monotonic()
        second_at: float | None = None
        waiting = asyncio.ensure_future(self.process.wait())
        for (after, _), number in zip(signals, numbers, strict=True):
            await asyncio.wait([waiting], timeout=max(0.0, began + after - monotonic()))
            if not waiting.done():
                second_at = after or None
                with suppress(ProcessLookupError):
                    os.kill(self.process.pid, number)
        limit = drain + EXIT_SLACK + OVERTIME
        await asyncio.wait([waiting], timeout=max(0.0, began + limit - monotonic()))
        if not waiting.done():
            self.sample(children=True)
            self.kill()
            await waiting
            return Exit(numbers, None, None, second_at)
        seconds = monotonic() - began
        left = await self._children_left()
        return Exit(
            numbers if second_at is not None else numbers[:1],
            seconds, waiting.result(), second_at, self.runtime_file.exists(), left,
        )  # fmt: skip

    async def _children_left(self) -> tuple[str, ...]:
        end = monotonic() + CHILDREN
        # No portable call waits for a process that is not a child of this one.
        while (left := self._living()) and monotonic() < end:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        return tuple(f"{child.pid} {_describe(child)}" for child in left)

    def _living(self) -> list[psutil.Process]:
        living: list[psutil.Process] = []
        for child in self._children.values():
            with suppress(psutil.Error):
                if child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
                    living.append(child)
        return living

    def kill(self) -> None:
        """Kill the process and the children that are left, and clean up after libfaketime."""
        with suppress(ProcessLookupError, AttributeError):
            self.process.kill()
        for child in self._living():
            with suppress(psutil.Error):
                child.kill()
        for pid in (*self._children, getattr(self.process, "pid", 0)):
            # libfaketime leaves these behind when a process is killed.
            for name in (f"faketime_shm_{pid}", f"sem.faketime_sem_{pid}"):
                (Path("/dev/shm") / name).unlink(missing_ok=True)


def _describe(child: psutil.Process) -> str:
    with suppress(psutil.Error):
        return f"({child.status()}) {' '.join(child.cmdline()[:4])}"
    return "(gone meanwhile)"
