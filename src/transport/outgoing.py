"""All connections' writes of one turn of the event loop, one after the other at its end.

A write that wakes the peer's process costs two or three times one towards a peer that is still at
the answer before: on a machine where both run, answers to many connections, written as each is
there, wake it once for each. (The same idea within one socket: `transport.connection`.)
"""

import asyncio
from collections.abc import Callable
from typing import Final

TOGETHER: Final = 64
"""So many do not wait for the end of the turn: 1,000 requests of one turn take long to handle."""


class Outgoing:
    """The connections that have something to write. One for all of an event loop's connections."""

    __slots__ = ("_due",)

    def __init__(self) -> None:
        self._due: list[Callable[[], None]] = []

    def add(self, write: Callable[[], None]) -> None:
        """Have `write` called, once for this call and at the end of this turn at the latest."""
        due = self._due
        if not due:
            asyncio.get_running_loop().call_soon(self.write)
        due.append(write)

    @property
    def are_many(self) -> bool:
        """So many wait that they should not wait for the end of the turn."""
        return len(self._due) >= TOGETHER

    def write(self) -> None:
        """Have all write, now."""
        due, self._due = self._due, []
        for write in due:
            try:
                write()
            except Exception as error:  # noqa: BLE001 - one that fails costs no other its write
                asyncio.get_running_loop().call_exception_handler(
                    {"message": "a connection could not be written to", "exception": error}
                )
