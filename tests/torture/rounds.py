"""One round: a service, a good client, hostile ones, conditions, a signal; then the checks."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Final

from tests.e2e.service_process import ROOT
from tests.torture import checks, trace
from tests.torture.checks import Exit, Lockout
from tests.torture.conditions import Conditions, hold_all
from tests.torture.machine import small_disk
from tests.torture.plan import Plan
from tests.torture.service import NotStarted, Service

SETTLE: Final = checks.REQUEST_TIME + 5.0
STOP: Final = 10.0


@dataclass
class Result:
    """The results of a round."""

    plan: Plan
    wrong: list[str] = field(default_factory=list)
    applied: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    worst: dict[str, float] = field(default_factory=dict)
    """The longest lockout of each lane, in seconds."""
    late: float = 0.0
    """Seconds in which the good client itself was not scheduled."""
    base: int = 0
    bound: int = 0
    peak: int = 0
    peak_together: int = 0
    end: Exit | None = None


class Round:
    """Carries out a plan in a folder."""

    def __init__(self, plan: Plan, seed: int, folder: Path) -> None:
        self._plan = plan
        self._seed = f"{seed}/{plan.number}"
        self._folder = folder
        self._trace = folder / "trace.jsonl"
        self._result = Result(plan)

    async def run(self) -> Result:
        """Run the round and return its results."""
        self._folder.mkdir(parents=True)
        with ExitStack() as stack:
            disk = None
            if self._plan.on_small_disk:
                disk = stack.enter_context(small_disk(self._folder / "disk"))
            service = Service(self._plan, self._folder, disk, stack)
            try:
                async with self._model_server() as port:
                    await service.start(port)
                    await self._torture(service)
            except NotStarted as error:
                self._result.wrong.append(str(error))
            finally:
                service.kill()
        return self._result

    async def _torture(self, service: Service) -> None:
        result, plan = self._result, self._plan
        began = monotonic()
        conditions = Conditions(service)
        quiet_from = float("inf")
        async with (
            _in_background(service.watch()),
            self._good(service) as good,
            AsyncExitStack() as held,
        ):
            await hold_all(conditions, plan.steps_of(hostile=False), held)
            await held.enter_async_context(self._hostile(service, began))
            async with _in_background(conditions.look()):
                await _ended(service, plan.seconds)
                if plan.settle and service.process.returncode is None:
                    await held.aclose()
                    quiet_from = monotonic()
                    await _settle(good)
            signalled = monotonic()
            result.wrong += conditions.wrong
            code = service.process.returncode
            result.wrong += checks.check_alive(None if code is None else signalled - began, code)
            if code is None:
                result.end = await service.end(plan.signals, plan.drain)
        result.applied = conditions.applied
        result.applied.update(step.name for step in plan.steps_of(hostile=True))
        self._judge(service, began, signalled, quiet_from, monotonic())

    def _judge(
        self, service: Service, began: float, signalled: float, quiet_from: float, over: float
    ) -> None:
        result, plan = self._result, self._plan
        events = trace.read(self._trace)
        outs = checks.lockouts(events, signalled)
        result.worst = _worst(outs)
        result.late = sum(e.until - e.at for e in events if e.kind == "late")
        result.requests = sum(event.kind == "sent" for event in events)
        result.ends = Counter(event.detail for event in events if event.end)
        result.base = service.samples[0].alone
        result.peak = max(sample.alone for sample in service.samples)
        result.peak_together = max(sample.together for sample in service.samples)
        result.bound = checks.memory_bound(result.base, plan.hostile_sessions, plan.budget)
        result.wrong += checks.check_lockouts(outs, began)
        result.wrong += checks.check_requests(events, quiet_from, over)
        result.wrong += checks.check_memory(service.samples, result.bound)
        if result.end is not None:
            result.wrong += checks.check_exit(result.end, plan.drain)
        if not result.requests:
            result.wrong.append("the good client has sent no request at all")

    # -- the other processes ---------------------------------------------------------------------

    @asynccontextmanager
    async def _good(self, service: Service) -> AsyncIterator[asyncio.subprocess.Process]:
        wish = {
            "url": service.ready["url"], "token": service.token, "seed": self._seed,
            "trace": str(self._trace), "backend": self._plan.backend,
        }  # fmt: skip
        async with _helper("good", self._folder) as process:
            assert process.stdin is not None
            process.stdin.write(json.dumps(wish).encode() + b"\n")
            yield process
            with suppress(OSError, TimeoutError):
                process.stdin.write(b"stop\n")
                async with asyncio.timeout(STOP):
                    await process.wait()
        if process.returncode != 0:
            self._result.wrong.append(f"the good client ended with code {process.returncode}")
            self._result.wrong += (self._folder / "good.txt").read_text().splitlines()[-1:]

    @asynccontextmanager
    async def _hostile(self, service: Service, began: float) -> AsyncIterator[None]:
        steps = [asdict(step) for step in self._plan.steps_of(hostile=True)]
        if not steps:
            yield
            return
        wish = {
            "port": service.port, "token": service.token, "seed": self._seed,
            "began": began, "steps": steps,
        }  # fmt: skip
        async with _helper("hostile", self._folder) as process:
            assert process.stdin is not None
            process.stdin.write(json.dumps(wish).encode() + b"\n")
            process.stdin.close()
            yield
            if process.returncode not in (None, 0):
                self._result.wrong.append(f"hostile clients ended with {process.returncode}")

    @asynccontextmanager
    async def _model_server(self) -> AsyncIterator[int]:
        if self._plan.backend != "openai":
            yield 0
            return
        async with _helper("model_server", self._folder, self._seed) as process:
            assert process.stdout is not None
            yield int(await process.stdout.readline())


@asynccontextmanager
async def _helper(
    name: str, folder: Path, *arguments: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a module of this package as a process, with its standard error in a file."""
    with (folder / f"{name}.txt").open("wb") as complaints:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", f"tests.torture.{name}", *arguments,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=complaints,
            cwd=ROOT,
        )  # fmt: skip
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@asynccontextmanager
async def _in_background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run a coroutine beside the body, cancel it at the end, and raise its errors."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _ended(service: Service, seconds: float) -> None:
    """Wait for this many seconds, or until the service has ended."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await service.process.wait()


async def _settle(good: asyncio.subprocess.Process) -> None:
    """Make the good client wait until all its requests have ended."""
    assert good.stdin is not None
    assert good.stdout is not None
    with suppress(OSError, TimeoutError):
        good.stdin.write(b"settle\n")
        async with asyncio.timeout(SETTLE):
            await good.stdout.readline()


def _worst(found: Iterable[Lockout]) -> dict[str, float]:
    worst: dict[str, float] = {}
    for out in found:
        worst[out.lane] = max(worst.get(out.lane, 0.0), out.seconds)
    return worst
