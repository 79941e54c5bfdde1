"""The machine's CPU and memory, as a stream.

    callboard serve --backend echo --actors examples.load.handlers
    python -m examples.load.watch

A client that takes nothing slows it down and piles nothing up: the next value is measured when
there is room for it.
"""

from collections.abc import AsyncIterator

import psutil

from actors import Code, Failure, Registry, StreamActor
from examples.load.load_pb2 import Load, WatchLoad


class Watch(StreamActor[WatchLoad, Load]):
    """One Load each interval, for as long as the client wants."""

    at_most = 32

    async def handle(self, request: WatchLoad) -> AsyncIterator[Load]:
        """Measure, tell, wait."""
        if 0 < request.interval_ms < 100:
            raise Failure(Code.INVALID_ARGUMENT, "not more often than every 100 ms")
        psutil.cpu_percent()  # the first call says nothing: it begins the interval
        while True:
            await self.context.sleep((request.interval_ms or 1000) / 1000)
            memory = psutil.virtual_memory()
            yield Load(
                cpu_percent=psutil.cpu_percent(),
                memory_used=memory.used,
                memory_total=memory.total,
            )


def register(registry: Registry) -> None:
    """What `--actors` calls."""
    registry.register(WatchLoad, Watch)
