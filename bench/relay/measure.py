"""Run the relays in interleaved rounds."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from bench.process import ServerProcess
from bench.relay import http_load, load
from bench.relay.contestants import OPENCODE, Relay, ScriptedServer, environment
from bench.relay.load import Clocks
from bench.relay.sample import Sample
from bench.relay.workloads import Workload, for_slow

RUN_LIMIT: Final = 120.0
"""Seconds that one workload on one server may take."""

Runs = dict[str, dict[str, list[dict[str, float] | None]]]
"""The figures of each round, by contestant and workload; None for a round without it."""


class RelayMeasurement:
    """The servers and results of one run. core: where servers are pinned; None: nowhere."""

    def __init__(
        self,
        relays: Sequence[Relay],
        workloads: Sequence[Workload],
        interpreters: dict[str, Path],
        core: int | None,
        say: Callable[[str], None],
    ) -> None:
        self._relays = relays
        self._workloads = workloads
        self._interpreters = interpreters
        self._core = core
        self._say = say
        self._servers: dict[tuple[str, ...], ServerProcess] = {}
        self._scripted: dict[str, ServerProcess] = {}
        """The servers that are asked, by the backend that asks them; the others ask `openai`'s."""
        self.runs: Runs = {}

    @contextmanager
    def servers(self) -> Iterator[None]:
        """Run all servers; each is idle while another is measured."""
        with ExitStack() as stack:
            interpreter = self._interpreters["3.13"]
            for backend, module in (("openai", "model_server"), (OPENCODE, "opencode_server")):
                scripted = ServerProcess(ScriptedServer(module), interpreter, None)
                self._scripted[backend] = stack.enter_context(scripted)
            urls = [server.url.removesuffix("/ws") for server in self._scripted.values()]
            more = environment(*urls)
            for relay in self._relays:
                if relay.key not in self._servers:
                    self._say(f"start: {relay.name}")
                    interpreter = self._interpreters[relay.python]
                    server = ServerProcess(relay, interpreter, self._core, more=more)
                    self._servers[relay.key] = stack.enter_context(server)
            yield
        self._servers.clear()

    async def run_round(self, number: int) -> None:
        """Run each workload on each server, one after another."""
        for workload in self._workloads:
            self._say(f"round {number + 1}: {workload.name}")
            for relay in self._relays:
                figures = None
                if workload.name in relay.workloads and number % relay.every == 0:
                    figures = (await self._run(relay, workload)).figures()
                kept = self.runs.setdefault(relay.name, {})
                kept.setdefault(workload.name, []).append(figures)

    async def _run(self, relay: Relay, workload: Workload) -> Sample:
        server = self._servers[relay.key]
        clocks = Clocks(server.cpu_seconds, self._scripted[relay.backend].cpu_seconds)
        work: Awaitable[Sample]
        if relay.http:
            workload = for_slow(workload)
            work = http_load.relay(workload, server.url, clocks)
        else:
            work = load.relay(
                workload,
                server.url,
                clocks,
                ours=relay.ours,
                credit=relay.credit,
                followed=relay.followed,
            )
        try:
            sample = await asyncio.wait_for(work, RUN_LIMIT)
        except TimeoutError:
            where = f"{relay.name}, {workload.name}"
            raise RuntimeError(f"{where}: no end in {RUN_LIMIT:.0f} s") from None
        expected = workload.replies * workload.tokens
        if sample.tokens != expected:
            where = f"{relay.name}, {workload.name}"
            raise RuntimeError(f"{where}: {sample.tokens} of {expected} tokens")
        return sample
