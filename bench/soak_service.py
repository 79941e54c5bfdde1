"""The service with the backend `echo`, printing each second what its process holds, as JSON."""

import asyncio
import contextlib
import gc
import json
import resource
import signal
import sys
from itertools import count

import psutil
import structlog

from callboard_service.load_settings import load
from callboard_service.service import Service


async def main() -> None:
    """Serve until SIGTERM. Print one line with the URL and the token, then the samples."""
    settings = load({})
    service = Service(settings, structlog.get_logger())
    ready = await service.start()
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    print(json.dumps({"url": ready.url, "token": service.token}), flush=True)
    process = psutil.Process()
    gc.collect()
    gc.freeze()  # objects from the start are not scanned again
    for second in count():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await stopped.wait()
        if stopped.is_set():
            break
        if (
            second % 10 == 0
        ):  # each collection blocks the loop, for as long as a second with 1,000 sessions
            gc.collect()
        sample = {
            "rss": process.memory_info().rss,
            "tasks": len(asyncio.all_tasks()),
            "descriptors": process.num_fds(),
            "cpu": sum(process.cpu_times()[:2]),
        }
        print(json.dumps(sample), flush=True)
    await service.stop()


if __name__ == "__main__":
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(40),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(main())
