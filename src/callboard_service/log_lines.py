"""Renders log events as lines, aggregates repeats, and passes the lines on. Never raises."""

import contextlib
import logging
import sys
import time
import traceback
from collections.abc import Callable
from typing import Final, Protocol, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from actors import Log
from callboard_service.line_writer import LineWriter, Write
from callboard_service.log_repeats import Repeats
from callboard_service.log_values import (
    TRACE,
    colored_at_most,
    plain,
    printable_value,
    shorten,
)

MAX_LINE: Final = 64 * 1024
"""Characters of one line. A longer one is replaced by its level, its event and its length."""

_LEVELS: Final = {"exception": "error", "warn": "warning", "msg": "info"}


class LogOutput(Protocol):
    """An output for whole lines, which never blocks and never raises."""

    def put(self, line: bytes) -> None:
        """Accept one line, which ends with a newline."""


class StreamOutput:
    """Writes lines to a text stream at once. For tests; a service has a LineWriter."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def put(self, line: bytes) -> None:
        """Write the line and ignore errors."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(line.decode(errors="backslashreplace"))
            self._stream.flush()


class _Receiver:
    """The innermost logger of structlog: passes rendered lines of any level to `put`."""

    def __init__(self, put: Callable[[str], None]) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = self.exception = put
        self.msg = self.log = self.warn = self.fatal = self.failure = self.err = put


class LogLines:
    """Renders events: console lines on a terminal, JSON objects elsewhere.

    console: whether the output is a terminal. now: returns the time in seconds, for the intervals
    of repeats.
    """

    def __init__(self, *, console: bool, now: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        renderer: Processor
        if console:
            renderer = structlog.dev.ConsoleRenderer(
                exception_formatter=structlog.dev.plain_traceback
            )
            stamp = structlog.processors.TimeStamper(fmt="%Y-%m-%dT%H:%M:%SZ", utc=True)
        else:
            renderer = structlog.processors.JSONRenderer()
            stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
        self._renderer, self._stamp = renderer, stamp
        self._repeats = Repeats(now)
        self._output: LogOutput | None = None
        self._writer: LineWriter | None = None
        self._counting = False
        """Whether the writer's thread knows that counts will become due."""

    # -- outputs ---------------------------------------------------------------------------------

    def write_to(self, output: LogOutput) -> None:
        """Pass lines to this output from now on."""
        self._output = output

    def write_from_thread(self, write: Write) -> LineWriter:
        """Pass lines to a new LineWriter and return it; it also writes counts when they are due."""
        self._writer = LineWriter(write, self._dropped_line, idle=self._idle)
        self._output = self._writer
        return self._writer

    def put(self, line: str) -> None:
        """Pass on a rendered line."""
        if self._output is not None:
            self._output.put(line.encode(errors="backslashreplace") + b"\n")

    def put_text(self, text: str) -> None:
        """Pass on a line that was printed to standard error."""
        if self._console:
            self.put(colored_at_most(text))
            return
        shown = plain(text)
        self.put(self._render({"level": "info", "event": "printed", "text": shown}))

    def flush(self, seconds: float) -> None:
        """Write all counts, due or not, and wait at most `seconds` for the writer."""
        self._put_counts(everything=True)
        if self._writer is not None:
            self._writer.flush(seconds)

    # -- from events to lines --------------------------------------------------------------------

    def logger(self, level: str) -> Log:
        """Return a log for events of this level and above."""
        wrapped = structlog.wrap_logger(
            cast("WrappedLogger", _Receiver(self.put)),
            processors=[self._process],
            wrapper_class=structlog.make_filtering_bound_logger(
                logging.getLevelNamesMapping()[level.upper()]
            ),
            cache_logger_on_first_use=True,
        )
        return cast("Log", wrapped)

    def _process(self, _logger: WrappedLogger, method: str, event: EventDict) -> str:
        """Render one event. Raises DropEvent, and nothing else, if it is only counted."""
        try:
            level = _LEVELS.get(method, method)
            name = shorten(str(event.pop("event", "")), 1024)
            fields = self._fields(event)
            if not self._repeats.admit(level, name, fields):
                raise structlog.DropEvent
            self._put_counts()
            return self._render({**fields, "level": level, "event": name})
        except structlog.DropEvent:
            if self._writer is None:
                self._put_counts()
            elif not self._counting:
                self._counting = True
                self._writer.wake()
            raise
        except BaseException as error:  # noqa: BLE001 - logging must not fail the caller
            return f'{{"level": "error", "event": "log line lost to {type(error).__name__}"}}'

    def _fields(self, event: EventDict) -> dict[str, object]:
        raised = event.pop("exc_info", None)
        fields = {str(name): plain(value) for name, value in event.items()}
        if raised:
            fields["exception"] = _trace(raised)
        if self._console:
            fields = {name: printable_value(value) for name, value in fields.items()}
        return fields

    def _render(self, fields: dict[str, object]) -> str:
        stamped = self._stamp(None, "", dict(fields))
        line = str(self._renderer(None, "", stamped))
        if len(line) > MAX_LINE:
            short = {name: fields.get(name) for name in ("level", "event")}
            return self._render({**short, "left_out": f"{len(line)} characters"})
        return line

    # -- counts ----------------------------------------------------------------------------------

    def _idle(self) -> float | None:
        self._put_counts()
        self._counting = False
        due = self._repeats.next_due()
        self._counting = self._counting or due is not None
        return due

    def _put_counts(self, *, everything: bool = False) -> None:
        for fields in self._repeats.take_due(everything=everything):
            self.put(self._render(fields))

    def _dropped_line(self, count: int) -> bytes:
        line = self._render({"level": "warning", "event": "log lines dropped", "count": count})
        return line.encode(errors="backslashreplace") + b"\n"


def _trace(raised: object) -> str:
    """Return the traceback as text. Never raises."""
    error = raised[1] if isinstance(raised, tuple) else raised
    if not isinstance(error, BaseException):
        error = sys.exc_info()[1]
    if error is None:
        return "no exception"
    try:
        text = "".join(traceback.format_exception(error)).rstrip("\n")
    except BaseException as failed:  # noqa: BLE001 - a `__str__` may raise anything
        text = f"{type(error).__name__} (its text raised {type(failed).__name__})"
    return shorten(text, TRACE)
