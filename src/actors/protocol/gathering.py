"""Decides when stream answers wait, for up to 2 ms, to be written together with later ones.

A write to a socket costs as much as ten answers. This is an optimization: `SEVERAL` turns it off
(2**63: nothing ever waits), and docs/adr/0027 gives the reasons.
"""

from collections.abc import Callable
from typing import Final

from actors.protocol.output import Output

SEVERAL: Final = 8
"""Stream answers in one turn of the loop from which more are expected in the next turn."""

GATHERED: Final = 16 * 1024
"""Bytes at which waiting for more is no longer worthwhile."""

GATHERED_FOR: Final = 0.002
"""Seconds that answers may wait for others, plus the rest of the loop's turn at that time."""


class Gathering:
    """Decides whether one connection writes now or in the next turn of the loop."""

    __slots__ = ("_looked", "_until")

    def __init__(self) -> None:
        self._looked = 0
        self._until = 0.0

    def goes_on(self, output: Output, now: Callable[[], float]) -> bool:
        """Return whether to wait another turn for more answers. Call at most once per turn.

        True while the session's streams send at least `SEVERAL` answers per turn and nothing urgent
        is queued, for up to `GATHERED_FOR` seconds and `GATHERED` bytes.
        """
        queue = output.queue
        if queue.urgent or queue.size >= GATHERED:
            return False
        taken = output.replay.last
        begins = self._looked <= taken
        said = queue.sequence - (taken if begins else self._looked)
        self._looked = queue.sequence
        if said < SEVERAL:
            return False
        if begins:
            self._until = now() + GATHERED_FOR
            return True
        return now() < self._until
