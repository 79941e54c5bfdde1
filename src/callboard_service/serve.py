"""Runs a service as a process: its start, its log, its triggers to stop, and its exit code."""

import asyncio
import contextlib
import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Final, NoReturn

import psutil

from actors import Log
from callboard_service import own_files
from callboard_service.descriptors import STANDARD_ERROR, STANDARD_INPUT, STANDARD_OUTPUT
from callboard_service.errors import ServiceError, describe_os_error
from callboard_service.line_writer import LineWriter, descriptor_write
from callboard_service.load_settings import unknown_variables
from callboard_service.log import log_libraries
from callboard_service.log_lines import LogLines
from callboard_service.log_values import colored_at_most, printable
from callboard_service.loop import calm_collector, run, share_interpreter
from callboard_service.open_page import CannotOpen, open_page
from callboard_service.printed import printed_lines
from callboard_service.service import Ready, Service
from callboard_service.settings import Settings
from callboard_service.shutdown import EXIT_FAILED, Shutdown
from callboard_service.terminal.exits import Exit
from transport import discovery
from transport.errors import TransportError

PARENT_POLL: Final = 1.0
"""Seconds between two checks of the parent process."""

STOP_MARGIN: Final = 4.0
"""Seconds beyond the drain time in which the service must have stopped."""

FLUSH_LOG: Final = 0.4
FLUSH_OUTPUT: Final = 0.1
"""Seconds that the process waits at its end for the log and the output to be written."""


@dataclass(frozen=True, slots=True)
class Lifeline:
    """What stops the process besides a signal: the end of its parent, or of standard input."""

    parent_pid: int | None = None
    watch_stdin: bool = False


def serve(
    settings: Settings, lifeline: Lifeline, *, ready_json: bool, open_in_browser: bool = False
) -> NoReturn:
    """Run a service to its end, then end the process.

    ready_json: print one line of JSON when ready. open_in_browser: open the page when ready.
    Exit codes: 0 stopped as requested; 1 failed, or did not stop within five seconds after the
    drain time; 2 could not start; 128 + N ended by a second signal N. The process ends without
    waiting for threads that still run, whoever started them.
    """
    Process(settings, lifeline, ready_json=ready_json, open_in_browser=open_in_browser).run()


class Process:
    """The process of one service."""

    def __init__(
        self,
        settings: Settings,
        lifeline: Lifeline,
        *,
        ready_json: bool,
        open_in_browser: bool = False,
    ) -> None:
        self._settings = settings
        self._lifeline = lifeline
        self._ready_json = ready_json
        self._open = open_in_browser
        self._lines = LogLines(console=os.isatty(STANDARD_ERROR))
        self._lines.write_from_thread(descriptor_write(STANDARD_ERROR))
        self._output = LineWriter(descriptor_write(STANDARD_OUTPUT), lambda count: b"")
        self._log = self._lines.logger(settings.log_level)
        self._shutdown: Shutdown | None = None
        self._is_ready = False

    def run(self) -> NoReturn:
        """Run the service, then end the process."""
        printed = printed_lines(self._print_text, STANDARD_OUTPUT)
        errors = printed_lines(self._lines.put_text, STANDARD_ERROR)
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
            try:
                run(self._main(), self._settings.loop, self._escaped)
            except BaseException as error:  # noqa: BLE001 - any exception ends the process
                self._leave(self._code_of(error))

    async def _main(self) -> NoReturn:
        try:
            code = await self._serve()
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - as above
            code = self._code_of(error)
        # Here and not after the loop: closing the loop would join the threads that still run.
        self._leave(code)

    def _leave(self, code: int) -> NoReturn:
        """End the process once its log and output are written or their time is up."""
        if self._shutdown is not None:
            self._shutdown.forsake()
        self._lines.flush(FLUSH_LOG)
        self._output.flush(FLUSH_OUTPUT)
        os._exit(code)

    def _code_of(self, error: BaseException) -> int:
        """Report the error and return the exit code."""
        if isinstance(error, ServiceError | TransportError):
            self._lines.put(f"callboard: {printable(str(error))}")
            return Exit.BAD_USE
        if isinstance(error, OSError) and not self._is_ready:
            self._lines.put(f"callboard: cannot start: {printable(describe_os_error(error))}")
            self._log.debug("cannot start", exc_info=error)
            return Exit.BAD_USE
        self._log.error("failed", exc_info=error)
        return EXIT_FAILED

    def _escaped(self, error: BaseException) -> None:
        """Log an exception that stopped the event loop, such as SystemExit; the loop goes on."""
        self._log.error("raised in the event loop, outside of any actor", exc_info=error)
        if self._shutdown is not None:
            self._shutdown.restarted()

    def _print_text(self, text: str) -> None:
        """Print a line that an extension or a library has printed."""
        self._print(colored_at_most(text) if os.isatty(STANDARD_OUTPUT) else text)

    def _print(self, line: str) -> None:
        self._output.put(line.encode(errors="backslashreplace") + b"\n")

    # -- the service -----------------------------------------------------------------------------

    async def _serve(self) -> int:
        """Run the service and return the exit code. Raises ServiceError and TransportError."""
        log, settings = self._log, self._settings
        shutdown = self._shutdown = Shutdown(settings.drain_ms / 1000)
        for name, meant in unknown_variables(os.environ):
            log.warning("unknown variable", name=name, meant=meant)
        own_files.look_after(settings, log)
        log_libraries(log)
        service = Service(settings, log)
        shutdown.forsake = service.forsake
        _watch(self._lifeline, shutdown.begin, log)
        starting = asyncio.ensure_future(service.start())
        asked = asyncio.ensure_future(shutdown.asked())
        await asyncio.wait({starting, asked}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            return await self._end(service, starting)
        ready = starting.result()
        self._is_ready = True
        calm_collector()
        share_interpreter()
        if self._ready_json:
            self._print_ready(ready)
        if self._open and service.record is not None:
            # In a thread, because a browser in the terminal keeps it until it is closed.
            arguments = (ready, service.record, log)
            threading.Thread(target=_open_in_browser, args=arguments, daemon=True).start()
        failed = asyncio.ensure_future(service.failed())
        await asyncio.wait({asked, failed}, return_when=asyncio.FIRST_COMPLETED)
        shutdown.begin()
        log.info("stopping")
        code = await self._end(service, asyncio.ensure_future(service.stop()))
        if failed.done():
            log.error("failed", exc_info=failed.result())
            return EXIT_FAILED
        if code == Exit.DONE:
            log.info("stopped")
        return code

    async def _end(
        self, service: Service, stopping: "asyncio.Future[Ready] | asyncio.Future[None]"
    ) -> int:
        """Wait until the service has stopped or its time is up; return the exit code."""
        await asyncio.wait({stopping}, timeout=self._settings.drain_ms / 1000 + STOP_MARGIN)
        if not stopping.done():
            left = [child.name for child in service.system.snapshot().children]
            self._log.error("not stopped in time", left=left)
        elif stopping.cancelled() or (error := stopping.exception()) is None:
            return Exit.DONE
        else:
            self._log.error("not stopped in order", exc_info=error)
        service.forsake()
        return EXIT_FAILED

    def _print_ready(self, ready: Ready) -> None:
        line = {"event": "ready", **asdict(ready), "runtime_file": str(ready.runtime_file)}
        self._print(json.dumps(line))


def _open_in_browser(ready: Ready, record: discovery.RuntimeRecord, log: Log) -> None:
    try:
        open_page(ready.runtime_file.parent, record)
    except CannotOpen as error:
        log.warning("cannot open the page", reason=str(error))


def _watch(lifeline: Lifeline, begin: Callable[[], None], log: Log) -> None:
    """Call `begin` when standard input is closed or the parent has ended, as `lifeline` asks.

    Uses threads, since the event loop may be blocked at that time.
    """
    if lifeline.watch_stdin:
        threading.Thread(target=_watch_stdin, args=(begin,), name="stdin", daemon=True).start()
    if lifeline.parent_pid is not None:
        arguments = (lifeline.parent_pid, begin, log)
        threading.Thread(target=_watch_parent, args=arguments, name="parent", daemon=True).start()


def _watch_stdin(begin: Callable[[], None]) -> None:
    with contextlib.suppress(OSError, ValueError):
        while os.read(STANDARD_INPUT, 4096):
            pass
    begin()


def _watch_parent(pid: int, begin: Callable[[], None], log: Log) -> None:
    # Polls: no system reports the end of a process that is not a child.
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        while _is_alive(parent):
            time.sleep(PARENT_POLL)
    log.warning("the parent process has ended", parent=pid)
    begin()


def _is_alive(process: psutil.Process) -> bool:
    """Return whether the process runs; True if that cannot be told. Raises NoSuchProcess."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.AccessDenied, OSError):  # OSError: no file descriptor is free
        return True
