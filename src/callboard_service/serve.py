"""The process round a service: its start, the signals, its parent, its end."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Final

import psutil

from actors import Log
from callboard_service import own_files
from callboard_service.log import library_log, make_log
from callboard_service.loop import calm_collector, share_interpreter
from callboard_service.service import Ready, Service
from callboard_service.settings import Settings, unknown_variables

EXIT_FAILED: Final = 1
PARENT_POLL: Final = 1.0
"""Seconds between two looks at the parent."""


@dataclass(frozen=True, slots=True)
class Lifeline:
    """What the process is to end with, beside a signal."""

    parent_pid: int | None = None
    watch_stdin: bool = False


async def serve(settings: Settings, lifeline: Lifeline, *, ready_json: bool) -> int:
    """Run a service to its end; the exit code. Raises ServiceError and TransportError."""
    log = make_log(settings.log_level)
    for name, meant in unknown_variables(os.environ):
        log.warning("unknown variable", name=name, meant=meant)
    own_files.look_after(settings, log)
    stopping = asyncio.Event()
    service = Service(settings, log)
    with library_log(log), _signals(stopping, service):
        starting = asyncio.ensure_future(service.start())
        told = asyncio.ensure_future(stopping.wait())
        await asyncio.wait({starting, told}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            return 0
        ready = starting.result()
        calm_collector()
        share_interpreter()
        if ready_json:
            _print_ready(ready)
        failed = asyncio.ensure_future(service.failed())
        watch = asyncio.ensure_future(_watch(lifeline, stopping, log))
        try:
            await asyncio.wait({told, failed}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            watch.cancel()
        log.info("stopping")
        await service.stop()
        if failed.done():
            log.error("failed", exc_info=failed.result())
            return EXIT_FAILED
        for pending in (told, failed):
            pending.cancel()
        log.info("stopped")
        return 0


def _print_ready(ready: Ready) -> None:
    line = {"event": "ready", **asdict(ready), "runtime_file": str(ready.runtime_file)}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


@contextlib.contextmanager
def _signals(stopping: asyncio.Event, service: Service) -> Iterator[None]:
    """SIGINT and SIGTERM stop the service; the second one ends the process at once."""
    loop = asyncio.get_running_loop()

    def on_signal(number: int, _frame: object) -> None:
        if stopping.is_set():
            service.forsake()
            os._exit(128 + number)
        loop.call_soon_threadsafe(stopping.set)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def _watch(lifeline: Lifeline, stopping: asyncio.Event, log: Log) -> None:
    """Set `stopping` when the parent has gone."""
    loop = asyncio.get_running_loop()
    if lifeline.watch_stdin:

        def read() -> None:
            with contextlib.suppress(OSError, ValueError):
                while os.read(0, 4096):
                    pass
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(stopping.set)

        threading.Thread(target=read, name="stdin", daemon=True).start()
    if lifeline.parent_pid is not None:
        try:
            parent = psutil.Process(lifeline.parent_pid)
            # No system tells of the end of a process that is not one's child.
            while parent.is_running() and parent.status() != psutil.STATUS_ZOMBIE:  # noqa: ASYNC110
                await asyncio.sleep(PARENT_POLL)
        except psutil.NoSuchProcess:
            pass
        log.warning("the parent process has ended", parent=lifeline.parent_pid)
        stopping.set()
