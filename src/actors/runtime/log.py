"""The shape of a log, so that the runtime needs none of its own (structlog's fits)."""

from typing import Protocol, Self


class Log(Protocol):
    """Takes events with fields; knows nothing of where they go."""

    def bind(self, **fields: object) -> Self:
        """A log whose lines carry these fields too."""

    def debug(self, event: str, **fields: object) -> object:
        """Of use to who looks for a fault."""

    def info(self, event: str, **fields: object) -> object:
        """In the normal course of things."""

    def warning(self, event: str, **fields: object) -> object:
        """Not right, but mended."""

    def error(self, event: str, **fields: object) -> object:
        """Someone should look at this."""
