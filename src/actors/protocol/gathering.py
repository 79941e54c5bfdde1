"""When answers of streams wait, for up to 2 ms, to be written together with the next ones.

A write to a socket costs as much as ten answers. An optimization: `SEVERAL` is its switch
(2**63: nothing ever waits), docs/adr/0027 its reasons.
"""

from collections.abc import Callable
from typing import Final

from actors.protocol.output import Output

SEVERAL: Final = 8
"""So many answers of streams in one turn of the loop, and more are likely in the next."""

GATHERED: Final = 16 * 1024
"""Bytes that are not worth the wait for more."""

GATHERED_FOR: Final = 0.002
"""Seconds that answers wait for others to be written with, and what is left of a turn then."""


class Gathering:
    """Decides whether one connection writes now or in the next turn of the loop."""

    __slots__ = ("_looked", "_until")

    def __init__(self) -> None:
        self._looked = 0
        self._until = 0.0

    def goes_on(self, output: Output, now: Callable[[], float]) -> bool:
        """Return whether more is worth a wait of one turn. Asked at most once a turn.

        It is while the streams of the session say several answers in each turn, and nothing else
        waits. It ends after `GATHERED_FOR`, and at `GATHERED` bytes.
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
