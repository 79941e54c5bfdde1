"""The interface of a log, so that the runtime depends on no logging library (structlog's fits)."""

from typing import Protocol, Self


class Log(Protocol):
    """A structured log: events with fields. Where they go is not its concern."""

    def bind(self, **fields: object) -> Self:
        """Return a log whose lines carry these fields too."""

    def debug(self, event: str, **fields: object) -> object:
        """Log a detail that helps to find a fault."""

    def info(self, event: str, **fields: object) -> object:
        """Log something that is part of normal operation."""

    def warning(self, event: str, **fields: object) -> object:
        """Log a problem from which the program has recovered."""

    def error(self, event: str, **fields: object) -> object:
        """Log a problem that somebody should look at."""
