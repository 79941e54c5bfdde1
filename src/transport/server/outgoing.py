"""Performs all connections' writes of one turn of the event loop, together at its end.

A write that wakes the peer's process costs two or three times as much as one to a peer that is
still handling the previous answer. On a machine where both run, writing each answer to many
connections as soon as it exists wakes the peer once per answer. (`transport.server.connection` does
the same within one socket.) This is an optimization: `TOGETHER` turns it off (1: none waits for
others), and docs/adr/0026 gives the reasons.
"""

import asyncio
from typing import Final, Protocol

TOGETHER: Final = 64
"""This many do not wait for the end of the turn: handling 1,000 requests in one turn takes long."""


class Writer(Protocol):
    """A connection that writes when it is told to."""

    def flush(self) -> None:
        """Write what is pending."""


class Outgoing:
    """The connections that have something to write; one object per event loop."""

    __slots__ = ("_due", "are_many")

    def __init__(self) -> None:
        self._due: list[Writer] = []
        self.are_many: bool = False
        """True if so many wait that they should not wait for the end of the turn."""

    def add(self, writer: Writer) -> None:
        """Flush the writer once for this call, by the end of this turn at the latest."""
        due = self._due
        if not due:
            asyncio.get_running_loop().call_soon(self.write)
        due.append(writer)
        self.are_many = len(due) >= TOGETHER

    def write(self) -> None:
        """Flush all waiting connections now."""
        due, self._due = self._due, []
        self.are_many = False
        for writer in due:
            try:
                writer.flush()
            except Exception as error:  # noqa: BLE001 - a failure must not affect the other writes
                asyncio.get_running_loop().call_exception_handler(
                    {"message": "a connection could not be written to", "exception": error}
                )
