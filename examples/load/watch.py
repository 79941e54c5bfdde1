"""Print the machine's load: `python -m examples.load.watch [TIMES]`; Ctrl-C ends it."""

import asyncio
import sys

from examples.load.load_pb2 import Load, WatchLoad
from transport.client import Client, by_runtime_file
from transport.errors import TransportError


async def main(times: int) -> None:
    """Print a line per second without end, or `times` lines at ten per second."""
    async with (
        Client(by_runtime_file()) as client,
        client.stream(WatchLoad(interval_ms=1000 if not times else 100), Load) as loads,
    ):
        async for load in loads:
            share = load.memory_used / load.memory_total
            print(f"cpu {load.cpu_percent:5.1f} %   memory {share:5.1%}", flush=True)
            times -= 1
            if not times:
                return


if __name__ == "__main__":
    try:
        asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
    except TransportError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
