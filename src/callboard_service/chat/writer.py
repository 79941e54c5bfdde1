"""Stores the output of all running turns, together and some time after it was sent."""

from typing import Final

from actors import Actor, Failure, Log
from callboard_service.backends.journal import TurnJournal
from callboard_service.chat.output import UnstoredOutput

AFTER: Final = 0.5
"""Seconds from the first output that is not stored to the transaction that stores all of it."""


class Write:
    """Store what is not stored yet."""


class OutputStorer(Actor[Write]):
    """Stores the output of all turns in one transaction every AFTER seconds, if there is any.

    A transaction for each turn would cost a quarter of all that is done for its tokens. What cannot
    be stored is stored at the turn's end, with its complete text.
    """

    def __init__(self, unstored: UnstoredOutput, journal: TurnJournal, log: Log) -> None:
        self._unstored = unstored
        self._journal = journal
        self._log = log

    def started(self) -> None:
        """Begin with what a crashed incarnation may have left."""
        self._unstored.wake = self._wake
        if self._unstored.outputs:
            self._wake()

    def _wake(self) -> None:
        self.context.after(AFTER, Write())

    async def receive(self, message: Write) -> None:
        """Store all output that is not stored."""
        outputs, self._unstored.outputs = self._unstored.outputs, set()
        pieces = [unstored for output in outputs if (unstored := output.unstored()) is not None]
        try:
            if pieces:
                await self._journal.add_output(pieces)
        except Failure as failure:
            self._log.warning("output not stored", reason=failure.message)
