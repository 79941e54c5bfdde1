"""Writes the log to standard error: lines for a person on a terminal, JSON otherwise.

The service logs names, codes and counts, never the text of a message or a token.
"""

import logging
import os
import traceback
from typing import Final, TextIO

from actors import Blocked, ChildGivenUp, Crashed, DeadLetter, Event, Log, Stuck
from callboard_service.descriptors import STANDARD_ERROR
from callboard_service.errors import find_service_error
from callboard_service.line_writer import descriptor_write
from callboard_service.log_lines import LogLines, StreamOutput

_RUNTIME: Final = frozenset({"actors", "asyncio", "contextlib"})
"""Packages whose frames lie between the event loop and a handler."""


def make_log(level: str, stream: TextIO | None = None) -> Log:
    """Return a log at this level that a thread writes to standard error.

    stream: write to this stream instead, synchronously. Timestamps have seconds on a terminal and
    microseconds in JSON.
    """
    if stream is None:
        lines = LogLines(console=os.isatty(STANDARD_ERROR))
        lines.write_from_thread(descriptor_write(STANDARD_ERROR))
    else:
        lines = LogLines(console=stream.isatty())
        lines.write_to(StreamOutput(stream))
    return lines.logger(level)


class LibraryLog(logging.Handler):
    """Logs what libraries log at WARNING and above, without the values in their messages.

    aiohttp quotes requests that it cannot parse and protocols that it is offered; asyncio quotes
    arguments. Any of them may contain a peer's token. The beginning of the message, the type of the
    error and its stack frames remain.
    """

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line. Never raises: a library must not fail because it logs."""
        try:
            self._say(record)
        except Exception as error:  # noqa: BLE001 - the record may hold anything
            self._log.error("a library's line could not be read", error=type(error).__name__)

    def _say(self, record: logging.LogRecord) -> None:
        said = str(record.msg).partition("\n")[0].partition("(")[0].partition("%")[0].strip()
        error = record.exc_info[1] if record.exc_info else None
        frames = traceback.extract_tb(error.__traceback__) if error is not None else []
        # aiohttp reports what peers send, which is not an error of the service.
        say = self._log.warning if record.name.startswith("aiohttp") else self._log.error
        say(
            said,
            library=record.name,
            error=None if error is None else type(error).__name__,
            places=[f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
        )


def log_libraries(log: Log) -> LibraryLog:
    """Send what libraries log to `log`, and return the handler that does so.

    The service never removes the handler: that takes a lock which any other thread may hold.
    """
    handler = LibraryLog(log)
    logging.getLogger().addHandler(handler)
    return handler


def find_handler(error: BaseException) -> str | None:
    """Return the outermost function in the traceback that is not the runtime's; None if none is."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        module = str(frame.f_globals.get("__name__"))
        if module.partition(".")[0] not in _RUNTIME:
            return f"{module}.{frame.f_code.co_qualname}"
    return None


class EventLog:
    """Logs the events of the actor runtime; those of the classes `kinds`."""

    kinds: Final = (Crashed, ChildGivenUp, Stuck, Blocked, DeadLetter)

    def __init__(self, log: Log) -> None:
        self._log = log

    def __call__(self, event: Event) -> None:
        """Log crashes, actors given up, stuck or blocking, and at debug level dead letters."""
        match event:
            case Crashed(path, error, _, restart_in) if reason := find_service_error(error):
                # Without a restart (at the first start) the error is printed to the user anyway.
                # A traceback would add nothing to a ServiceError.
                log = self._at(path)
                say = log.debug if restart_in is None else log.error
                say("actor cannot start", reason=str(reason), restart_in=restart_in)
            case Crashed(path, error, message, restart_in):
                self._at(path).error(
                    "actor crashed",
                    message=message,
                    handler=find_handler(error),
                    restart_in=restart_in,
                    exc_info=error,
                )
            case ChildGivenUp(path, _, escalated):
                self._at(path).error("actor given up", escalated=escalated)
            case Stuck(path, message, seconds):
                self._at(path).error("actor stuck", message=message, seconds=seconds)
            case Blocked(path, message, seconds, where):
                self._at(path).error(
                    "event loop held up", message=message, seconds=seconds, where=where
                )
            case DeadLetter(path, message):
                self._at(path).debug("dead letter", message=message)
            case _:
                pass

    def _at(self, path: str) -> Log:
        """Return a log bound to the actor, and to its session and request if it has them."""
        log = self._log.bind(actor=path)
        match path.split("/"):
            case [_, "sessions", session, request]:
                return log.bind(session=session, request=int(request))
            case [_, "sessions", session]:
                return log.bind(session=session)
            case _:
                return log
