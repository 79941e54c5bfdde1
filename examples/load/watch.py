"""Print the machine's load once a second; Ctrl-C ends it."""

import asyncio
import sys

from examples.load.load_pb2 import Load, WatchLoad
from transport.client import Client, by_runtime_file


async def main(times: int) -> None:
    """Print so many lines; 0: without end."""
    async with (
        Client(by_runtime_file()) as client,
        client.stream(WatchLoad(interval_ms=1000 if not times else 100), Load) as loads,
    ):
        async for load in loads:
            share = load.memory_used / load.memory_total
            sys.stdout.write(f"cpu {load.cpu_percent:5.1f} %   memory {share:5.1%}\n")
            times -= 1
            if not times:
                return


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
