"""What a request holds of its session's memory besides its own bytes."""

import asyncio
from typing import Final

from actors.protocol.flow_control import FlowControl

SMALL: Final = 4096
"""The largest message, in bytes, that may wait for a request even if no memory is free."""


class RequestMemory:
    """The input and the reservations of one request, counted in its session's account.

    over: the request is not in flight. A handler that ignored its cancellation may still run, but
    it holds nothing from then on.
    """

    __slots__ = ("_flow", "_has_one", "_held", "_over", "_turn")

    def __init__(self, flow: FlowControl, *, over: bool) -> None:
        self._flow = flow
        self._held = 0
        self._has_one = False
        self._over = over
        self._turn: asyncio.Semaphore | None = None

    def hold(self, size: int) -> bool:
        """Count `size` bytes as held; return False if there is no room for them."""
        if self._over or not self._flow.has_room_for(size):
            return False
        self._count(size)
        return True

    def hold_one(self, size: int) -> bool:
        """Count a small message, one at a time, however little memory is free.

        It may be the input that a reply is waiting for, so refusing it would free nothing.
        """
        if self._over or size > SMALL or self._has_one:
            return False
        self._has_one = True
        self._count(size)
        return True

    def free(self, size: int) -> None:
        """Release what was counted for one message."""
        if not self._over:
            self._has_one = False
            self._count(-size)

    def _count(self, size: int) -> None:
        self._held += size
        self._flow.count_input(size)

    async def take_turn(self, turns: asyncio.Semaphore) -> None:
        """Wait for one of a few turns, first come, first served. `let_go` releases it."""
        if self._turn is None:
            await turns.acquire()
            if self._over:
                turns.release()
            else:
                self._turn = turns

    def let_go(self) -> None:
        """Release everything: the request is no longer in flight."""
        self._over = True
        self._flow.count_input(-self._held)
        if self._turn is not None:
            self._turn.release()
            self._turn = None
