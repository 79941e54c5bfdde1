"""Fair places: share what is scarce among client sessions.

A place is a chat that the model's process answers, or a connection to a model server. A free place
goes to the waiting session that holds the fewest places; among equals, to the one that was served
longest ago. Within a session, tickets are served in the order in which they entered.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from typing import Final

from actors import Code, Failure
from callboard.v1.chat_pb2 import ChatNotice

UNSAID: Final = 0.2
"""Seconds that a reply waits before it says so."""

MAX_WAIT: Final = 600.0
"""Seconds that a reply waits for a place at most, once it has said that it waits."""


class Ticket:
    """A claim to a place: it waits, then holds the place until `leave`."""

    def __init__(self, places: "FairPlaces", session: str) -> None:
        self._places = places
        self._granted = asyncio.Event()
        self.session = session
        self.left = False

    @property
    def holds(self) -> bool:
        """The place is there, and has not been left."""
        return self._granted.is_set() and not self.left

    def grant(self) -> None:
        """Give it the place. Called by FairPlaces alone."""
        self._granted.set()

    async def wait(self, seconds: float) -> bool:
        """Wait for the place for at most so many seconds; return whether it is there."""
        try:
            async with asyncio.timeout(seconds):
                await self._granted.wait()
        except TimeoutError:
            return False
        return True

    async def turn(self) -> AsyncGenerator[ChatNotice, None]:
        """Wait for the place, with a notice if that takes a while.

        Raises Failure: RESOURCE_EXHAUSTED after MAX_WAIT.
        """
        if await self.wait(UNSAID):
            return
        yield ChatNotice(message="Other replies are being made; this one waits its turn.")
        if not await self.wait(MAX_WAIT):
            message = "the model is too busy: the reply has waited too long for its turn"
            raise Failure(Code.RESOURCE_EXHAUSTED, message, retryable=True)

    def leave(self) -> None:
        """Give the place back, or stop waiting for it. Harmless when repeated."""
        if not self.left:
            self.left = True
            self._places.released(self)


class FairPlaces:
    """A number of places, granted fairly to the sessions that claim them.

    max_waiting: tickets that one session may have waiting. spare: a session that holds places gets
    another one only while more than `spare` times as many are free. With 2, one session alone gets
    a third of all places, and each later one a third of what is left: a session that holds nothing
    finds a place free. With 0 no place is left unused while somebody waits.
    """

    def __init__(self, places: int, *, max_waiting: int, spare: int = 0) -> None:
        self._places = places
        self._max_waiting = max_waiting
        self._spare = spare
        self._held: dict[str, int] = {}
        self._waiting: dict[str, deque[Ticket]] = {}
        self._served: dict[str, int] = {}
        """The number of the last grant to each session that holds or waits."""
        self._grants = 0

    @property
    def free(self) -> int:
        """Places that nobody holds. Negative after their number was reduced."""
        return self._places - sum(self._held.values())

    @property
    def waiting(self) -> int:
        """Tickets that wait."""
        return sum(map(len, self._waiting.values()))

    def resize(self, places: int) -> None:
        """Change the number of places. Those that are held stay held."""
        self._places = places
        self._grant()

    def enter(self, session: str) -> Ticket:
        """Claim a place. Raises Failure, RESOURCE_EXHAUSTED, if the session has too many waiting.

        The ticket must be left, whatever happens.
        """
        queue = self._waiting.setdefault(session, deque())
        if len(queue) >= self._max_waiting:
            message = "too many replies of this client wait for the model"
            raise Failure(Code.RESOURCE_EXHAUSTED, message, retryable=True)
        ticket = Ticket(self, session)
        queue.append(ticket)
        self._grant()
        return ticket

    def released(self, ticket: Ticket) -> None:
        """Take back a ticket. Called by `Ticket.leave` alone."""
        session = ticket.session
        queue = self._waiting.get(session, deque())
        if ticket in queue:
            queue.remove(ticket)
            if not queue:
                del self._waiting[session]
        elif self._held[session] > 1:
            self._held[session] -= 1
        else:
            del self._held[session]
        self._grant()
        if session not in self._held and session not in self._waiting:
            self._served.pop(session, None)

    def _grant(self) -> None:
        while (session := self._next()) is not None:
            queue = self._waiting[session]
            queue.popleft().grant()
            if not queue:
                del self._waiting[session]
            self._held[session] = self._held.get(session, 0) + 1
            self._grants = self._served[session] = self._grants + 1

    def _next(self) -> str | None:
        """Return the session that is to have a place now; None: nobody is, or there is no place."""
        free = self.free
        if free <= 0:
            return None
        held, served = self._held, self._served
        able = [name for name in self._waiting if held.get(name, 0) * self._spare < free]
        return min(able, key=lambda name: (held.get(name, 0), served.get(name, 0)), default=None)
