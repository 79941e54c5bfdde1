"""What the board costs: `python -m bench.board [ACTORS] [SESSIONS] [SECONDS]`.

A service with so many idle actors (1,000 by default) of one parent, and so many sessions (200) with
a request that waits, is measured for so many seconds (30) each: without a watcher, with one, and
with five. Prints the share of a core that the service uses; how large a snapshot is and how often
one comes; and the round trips of a small request meanwhile, 20 a second, since a walk over a large
tree delays them. It ends by itself.
"""

import asyncio
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from typing import Final

import psutil
from google.protobuf.wrappers_pb2 import BytesValue, StringValue

from bench.started import TOKEN, service
from callboard.board.v1.board_pb2 import BoardSnapshot, WatchBoardRequest
from transport.client import Client, by_url
from transport.client.calls import ClientSettings

PINGS: Final = 20
"""Round trips a second, which cost the same in all rows."""

WARM_UP: Final = 3.0


async def watch(client: Client, snapshots: list[int]) -> None:
    """Watch the board; note the size of each snapshot."""
    async with client.stream(WatchBoardRequest(), BoardSnapshot) as stream:
        async for snapshot in stream:
            snapshots.append(snapshot.ByteSize())  # noqa: PERF401 - read meanwhile


async def ping(client: Client, trips: list[float]) -> None:
    """Call a handler that answers at once, again and again."""
    while True:
        began = time.perf_counter()
        await client.call(BytesValue(value=b"."), BytesValue)
        trips.append(time.perf_counter() - began)
        await asyncio.sleep(1 / PINGS)


async def wait(client: Client) -> None:
    """Leave a request in flight."""
    await client.call(StringValue(value="wait"), StringValue)


async def measure(url: str, process: psutil.Process, watchers: int, seconds: float) -> None:
    """Print what this many watchers cost."""
    find, settings = by_url(url, TOKEN), ClientSettings()
    snapshots: list[int] = []
    trips: list[float] = []
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client(find, settings)) for _ in range(watchers)]
        pinger = await stack.enter_async_context(Client(find, settings))
        tasks = [asyncio.create_task(ping(pinger, trips))]
        for number, client in enumerate(clients):
            tasks.append(asyncio.create_task(watch(client, [] if number else snapshots)))
        await asyncio.sleep(WARM_UP)
        snapshots.clear()
        trips.clear()
        before, began = process.cpu_times(), time.perf_counter()
        await asyncio.sleep(seconds)
        took, after = time.perf_counter() - began, process.cpu_times()
        cpu = (after.user + after.system - before.user - before.system) / took
        print(
            f"{watchers} watchers: {100 * cpu:.2f} % of a core; {len(snapshots)} snapshots of "
            f"{max(snapshots, default=0):,} bytes; round trips: median "
            f"{1000 * median(trips):.2f} ms, longest {1000 * max(trips):.1f} ms",
            flush=True,
        )
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def main() -> None:
    """Measure with none, one and five watchers."""
    given = [int(argument) for argument in sys.argv[1:]]
    actors, sessions, seconds = given + [1000, 200, 30][len(given) :]
    flags, root = ("--actors", "bench.servers.crowd"), str(Path(__file__).parents[1])
    with service(*flags, BENCH_ACTORS=str(actors), PYTHONPATH=root) as (url, process):
        async with AsyncExitStack() as stack:
            waits = []
            for _ in range(sessions):
                client = Client(by_url(url, TOKEN), ClientSettings())
                await stack.enter_async_context(client)
                waits.append(asyncio.create_task(wait(client)))
            for watchers in (0, 1, 5):
                await measure(url, process, watchers, seconds)
            for each in waits:
                each.cancel()
            await asyncio.gather(*waits, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main())
