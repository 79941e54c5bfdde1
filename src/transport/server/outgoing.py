"""All connections' writes of one turn of the event loop, one after the other at its end.

A write that wakes the peer's process costs two or three times one towards a peer that is still at
the answer before: on a machine where both run, answers to many connections, written as each is
there, wake it once for each. (The same idea within one socket: `transport.server.connection`.)
An optimization: `TOGETHER` is its switch (1: each writes at once), docs/adr/0026 its reasons.
"""

import asyncio
from typing import Final, Protocol

TOGETHER: Final = 64
"""So many do not wait for the end of the turn: 1,000 requests of one turn take long to handle."""


class Writer(Protocol):
    """A connection that writes when it is its turn."""

    def flush(self) -> None:
        """Write what there is."""


class Outgoing:
    """The connections that have something to write. One for all of an event loop's connections."""

    __slots__ = ("_due", "are_many")

    def __init__(self) -> None:
        self._due: list[Writer] = []
        self.are_many: bool = False
        """So many wait that they should not wait for the end of the turn."""

    def add(self, writer: Writer) -> None:
        """Have it flushed, once for this call and at the end of this turn at the latest."""
        due = self._due
        if not due:
            asyncio.get_running_loop().call_soon(self.write)
        due.append(writer)
        self.are_many = len(due) >= TOGETHER

    def write(self) -> None:
        """Have all write, now."""
        due, self._due = self._due, []
        self.are_many = False
        for writer in due:
            try:
                writer.flush()
            except Exception as error:  # noqa: BLE001 - one that fails costs no other its write
                asyncio.get_running_loop().call_exception_handler(
                    {"message": "a connection could not be written to", "exception": error}
                )
