"""Stream the machine's CPU and memory load.

    callboard serve --backend echo --actors examples.load.handlers
    python -m examples.load.watch

A slow client slows the stream down and nothing accumulates: the next value is measured only when
there is room for it.
"""

from collections.abc import AsyncIterator

import psutil

from actors import Code, Failure, Registry, StreamActor
from examples.load.load_pb2 import Load, WatchLoad


class Watch(StreamActor[WatchLoad, Load]):
    """Sends one Load per interval until the client ends the stream."""

    at_most = 32

    async def handle(self, request: WatchLoad) -> AsyncIterator[Load]:
        """Wait for each interval and yield a measurement. Raises Failure for short intervals."""
        if 0 < request.interval_ms < 100:
            raise Failure(Code.INVALID_ARGUMENT, "not more often than every 100 ms")
        psutil.cpu_percent()  # the first call only starts the measurement
        while True:
            await self.context.sleep((request.interval_ms or 1000) / 1000)
            memory = psutil.virtual_memory()
            yield Load(
                cpu_percent=psutil.cpu_percent(),
                memory_used=memory.used,
                memory_total=memory.total,
            )


def register(registry: Registry) -> None:
    """Register the actor; `--actors` calls this."""
    registry.register(WatchLoad, Watch)
