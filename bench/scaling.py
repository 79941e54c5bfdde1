"""Where the cost grows: `python -m bench.scaling PYTHON`, one axis after the other.

CPU microseconds a message of the server at each size; what conversations cost by their length is
of the store alone (`bench.history`). Each point is the best of three: what is looked for is growth,
and noise only adds.
"""

import asyncio
import json
import sys
from pathlib import Path

import uvloop

from bench.contestants import CONTESTANTS
from bench.history import by_length
from bench.process import TOKEN, ServerProcess
from bench.websocket import connect
from bench.workloads import (
    Caller,
    Clock,
    Sample,
    Target,
    Workload,
    calls,
    many_sockets,
    one_socket,
    streams,
)  # fmt: skip

OURS = next(contestant for contestant in CONTESTANTS if contestant.ours)


def sized(payload: int, count: int) -> Workload:
    """Unary requests of so many bytes, 8 in flight."""

    async def run(target: Target, clock: Clock) -> Sample:
        requests = calls(1, count, bytes(payload))
        caller = await connect(target.url, TOKEN, lambda: Caller(True, requests))
        before = clock()
        caller.begin(8)
        await caller.until(1 + count)
        sample = Sample(count, clock() - before)
        caller.close()
        return sample

    return run


AXES: dict[str, dict[int, Workload]] = {
    "sessions, each with a request in flight": {
        count: many_sockets(count, max(2, 2000 // count)) for count in (1, 10, 100, 1000, 5000)
    },
    "requests in flight in a session": {
        count: one_socket(20_000, count) for count in (1, 10, 100, 1000, 10_000)
    },
    "bytes of a message": {
        size: sized(size, max(50, min(4000, 8_000_000 // size)))
        for size in (10, 100, 1000, 10_000, 100_000, 900_000)
    },
    "tokens of a stream": {count: streams(count, 1) for count in (100, 1000, 10_000, 100_000)},
    "streams at once": {count: streams(20_000 // count, count) for count in (1, 10, 100)},
}


async def main(interpreter: Path) -> dict[str, dict[int, float]]:
    """Every point of every axis."""
    found: dict[str, dict[int, float]] = {}
    with ServerProcess(OURS, interpreter, 1) as server:
        target = Target(server.url, ours=True)
        for axis, points in AXES.items():
            found[axis] = {}
            for size, work in points.items():
                costs = []
                for _ in range(3):
                    sample = await asyncio.wait_for(work(target, server.cpu_seconds), 60)
                    costs.append(sample.cpu / sample.messages * 1e6)
                found[axis][size] = round(min(costs), 2)
                sys.stderr.write(f"{axis}: {size}: {found[axis][size]} us\n")
    found |= await by_length()
    return found


if __name__ == "__main__":
    print(json.dumps(uvloop.run(main(Path(sys.argv[1]).absolute())), indent=1))
