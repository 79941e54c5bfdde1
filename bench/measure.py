"""Run one whole measurement: start the servers, interleave the rounds, end the servers."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench import idle, workloads
from bench.contestants import Contestant
from bench.process import ServerProcess
from bench.workloads import Sample, Target

RUN_LIMIT: Final = 120.0
"""Seconds that one workload on one server may take."""

COLUMNS: Final = ("W1", "W2", "W2 x 50", "W3", "latency")

FULL: Final = {
    "calls": 20_000, "tokens": 10_000, "fast": 10_000, "slow": 1_000, "sockets": 1_000, "each": 30,
    "latency": 2_000, "idle": 1_000,
}  # fmt: skip
QUICK: Final = {
    "calls": 4_000, "tokens": 5_000, "fast": 2_000, "slow": 200, "sockets": 200, "each": 5,
    "latency": 400, "idle": 200,
}  # fmt: skip


@dataclass(slots=True)
class Results:
    """Every sample of every contestant, by workload, in the order of the rounds.

    samples[name][workload][round]: None in rounds without this contestant. idle, session: in KiB.
    start: in seconds.
    """

    samples: dict[str, dict[str, list[Sample | None]]] = field(default_factory=dict)
    idle: dict[str, float] = field(default_factory=dict)
    session: dict[str, float] = field(default_factory=dict)
    start: dict[str, list[float]] = field(default_factory=dict)


def _loads(contestant: Contestant, scale: dict[str, int]) -> dict[str, workloads.Workload]:
    # Starting a stream costs ours something, because the conversation is kept; others nothing.
    tokens = scale["fast"] if contestant.ours else scale["slow"]
    return {
        "W1": workloads.one_socket(scale["calls"], 64),
        "W2": workloads.streams(scale["tokens"], 1),
        "W2 x 50": workloads.streams(tokens, 50),
        "W3": workloads.many_sockets(scale["sockets"], scale["each"]),
        "latency": workloads.latency(scale["latency"]),
    }


class Measurement:
    """The servers and results of one run."""

    def __init__(
        self,
        contestants: Sequence[Contestant],
        interpreters: dict[str, Path],
        scale: dict[str, int],
        core: int | None,
        say: Callable[[str], None],
    ) -> None:
        self._contestants = contestants
        self._interpreters = interpreters
        self._scale = scale
        self._core = core
        self._say = say
        self._servers: dict[tuple[str, str, str, str], ServerProcess] = {}
        self.results = Results()

    def _start(self, contestant: Contestant) -> ServerProcess:
        server = ServerProcess(contestant, self._interpreters[contestant.python], self._core)
        self.results.start.setdefault(contestant.name, []).append(server.start_seconds)
        return server

    async def measure_idle(self) -> None:
        """Measure the idle memory and the start time of each contestant, in fresh processes."""
        count = self._scale["idle"]
        for contestant in self._contestants:
            if contestant.credit:
                continue
            self._say(f"start and idle memory: {contestant.name}")
            if contestant.module != "grpc_server":
                with self._start(contestant) as server:
                    held = await idle.connection_bytes(server, count)
                    self.results.idle[contestant.name] = held / 1024
            if contestant.ours:
                with self._start(contestant) as server:
                    target = Target(server.url, ours=True)
                    held = await idle.session_bytes(server, target, count)
                    self.results.session[contestant.name] = held / 1024
            with self._start(contestant):
                pass

    @contextmanager
    def servers(self) -> Iterator[None]:
        """Run all servers; each is idle while another is measured."""
        with ExitStack() as stack:
            for contestant in self._contestants:
                if contestant.key not in self._servers:
                    server = stack.enter_context(self._start(contestant))
                    self._servers[contestant.key] = server
            yield
        self._servers.clear()

    async def run_round(self, number: int) -> None:
        """Run each workload on each server, one after another."""
        for column in COLUMNS:
            self._say(f"round {number + 1}: {column}")
            for contestant in self._contestants:
                sample = None
                has_it = contestant.streams or not column.startswith("W2")
                if has_it and number % contestant.every == 0:
                    sample = await self._run(contestant, column)
                kept = self.results.samples.setdefault(contestant.name, {})
                kept.setdefault(column, []).append(sample)

    async def _run(self, contestant: Contestant, column: str) -> Sample:
        server = self._servers[contestant.key]
        began = time.monotonic()
        work: Awaitable[Sample]
        if contestant.module == "grpc_server":
            from bench.grpc_load import loads

            work = loads(self._scale)[column](server.url, server.cpu_seconds)
        else:
            target = Target(server.url, contestant.ours, contestant.credit)
            work = _loads(contestant, self._scale)[column](target, server.cpu_seconds)
        try:
            return await asyncio.wait_for(work, RUN_LIMIT)
        except TimeoutError:
            passed = time.monotonic() - began
            raise RuntimeError(f"{contestant.name}, {column}: no end in {passed:.0f} s") from None
