"""Find where costs grow: `python -m bench.scaling PYTHON` measures one axis after another.

Most figures are the server's CPU microseconds per message at each size; the costs of a conversation
by its length are those of the store alone (`bench.history`), and those by the messages in the
database are what a client waits (`bench.kept`). Each CPU figure is the best of three, because noise
only adds and growth is what is looked for. Memory is measured once per size.
"""

import asyncio
import json
import os
import resource
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

import uvloop

from bench.contestants import OURS
from bench.growth_plot import growth
from bench.history import by_length
from bench.idle import connection_bytes, waiting_bytes
from bench.kept import by_kept
from bench.process import ROOT, ServerProcess
from bench.workloads import (
    Target,
    Workload,
    many_sockets,
    one_socket,
    streams,
)  # fmt: skip

AXES: dict[str, dict[int, Workload]] = {
    "sessions, each with a request in flight": {
        count: many_sockets(count, max(2, 2000 // count)) for count in (1, 10, 100, 1000, 10_000)
    },
    "requests in flight in a session": {
        count: one_socket(20_000, count) for count in (1, 10, 100, 1000, 10_000)
    },
    "bytes of a message": {
        size: one_socket(max(50, min(4000, 8_000_000 // size)), 8, bytes(size))
        for size in (10, 100, 1000, 10_000, 100_000, 900_000)
    },
    "tokens of a stream": {count: streams(count, 1) for count in (100, 1000, 10_000, 100_000)},
    "streams at once": {count: streams(20_000 // count, count) for count in (1, 10, 100)},
}


TYPES: Final = (1, 10, 100, 1000)
OPEN: Final = (100, 1000, 10_000)
"""Numbers of connections, and of requests in flight, whose memory is measured."""


async def main(interpreter: Path) -> dict[str, dict[int, float]]:
    """Measure every point of every axis."""
    found: dict[str, dict[int, float]] = {}
    with ServerProcess(OURS, interpreter, 1) as server:
        for axis, points in AXES.items():
            found[axis] = {
                size: _said(axis, size, await _cost(server, work)) for size, work in points.items()
            }
    axis = "registered types"
    found[axis] = {}
    for count in TYPES:
        with _with_types(count, interpreter) as server:
            cost = await _cost(server, one_socket(20_000, 64))
        found[axis][count] = _said(axis, count, cost)
    found |= await _memory(interpreter)
    return found | await by_length() | await by_kept(interpreter)


async def _cost(server: ServerProcess, work: Workload) -> float:
    """Return CPU microseconds per message, the best of three runs."""
    target, costs = Target(server.url, ours=True), []
    for _ in range(3):
        sample = await asyncio.wait_for(work(target, server.cpu_seconds), 120)
        costs.append(sample.cpu / sample.messages * 1e6)
    return round(min(costs), 2)


async def _memory(interpreter: Path) -> dict[str, dict[int, float]]:
    """Return the KiB of an open connection with its session, and of a request in flight."""
    connections, requests = "open connections: KiB each", "requests in flight: KiB each"
    found: dict[str, dict[int, float]] = {connections: {}, requests: {}}
    for count in OPEN:
        with ServerProcess(OURS, interpreter, 1) as server:
            held = await connection_bytes(server, count)
        found[connections][count] = _said(connections, count, round(held / 1024, 1))
        with _with_types(1, interpreter) as server:
            held = await waiting_bytes(server, count)
        found[requests][count] = _said(requests, count, round(held / 1024, 1))
    return found


def _with_types(count: int, interpreter: Path) -> ServerProcess:
    os.environ["BENCH_TYPES"] = str(count)
    return ServerProcess(replace(OURS, actors="bench.servers.many"), interpreter, 1)


def _said(axis: str, size: int, value: float) -> float:
    sys.stderr.write(f"{axis}: {size}: {value}\n")
    return value


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    axes = uvloop.run(main(Path(sys.argv[1]).absolute()))
    (ROOT / "bench" / "results" / "scaling.json").write_text(json.dumps(axes, indent=1) + "\n")
    title = "CPU microseconds a message, or what is said, at each size"
    (ROOT / "bench" / "results" / "scaling.svg").write_text(growth(title, axes))
    print(json.dumps(axes, indent=1))
