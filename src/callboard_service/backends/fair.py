"""Share scarce places fairly among client sessions.

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
"""Seconds that a reply waits for a place before the client gets a notice."""

MAX_WAIT: Final = 600.0
"""Seconds that a reply waits for a place after that notice before it fails."""


class Ticket:
    """A claim to a place: it waits for the place, then holds it until `leave`."""

    def __init__(self, places: "FairPlaces", session: str) -> None:
        self._places = places
        self._granted = asyncio.Event()
        self.session = session
        self.left = False

    @property
    def holds(self) -> bool:
        """Whether the place has been granted and not been given back."""
        return self._granted.is_set() and not self.left

    def grant(self) -> None:
        """Grant the place. Only FairPlaces calls this."""
        self._granted.set()

    async def wait(self, seconds: float) -> bool:
        """Wait at most `seconds` for the place and return whether it has been granted."""
        try:
            async with asyncio.timeout(seconds):
                await self._granted.wait()
        except TimeoutError:
            return False
        return True

    async def turn(self) -> AsyncGenerator[ChatNotice, None]:
        """Wait for the place; yield a notice if that takes longer than UNSAID.

        Raises Failure: RESOURCE_EXHAUSTED if MAX_WAIT passes after that.
        """
        if await self.wait(UNSAID):
            return
        yield ChatNotice(message="Other replies are in progress; this one is waiting for its turn.")
        if not await self.wait(MAX_WAIT):
            message = "the model is too busy: the reply waited too long for its turn"
            raise Failure(Code.RESOURCE_EXHAUSTED, message, retryable=True)

    def leave(self) -> None:
        """Give the place back, or stop waiting for it. Does nothing when repeated."""
        if not self.left:
            self.left = True
            self._places.released(self)


class FairPlaces:
    """A number of places, granted fairly to the sessions that claim them.

    max_waiting: how many tickets of one session may wait. spare: a session that holds places gets
    another one only while more than `spare` times as many are free. With 2, a single session gets a
    third of all places, and each later one a third of the rest, so a session that holds nothing
    finds a free place. With 0, no place stays free while a ticket waits.
    """

    def __init__(self, places: int, *, max_waiting: int, spare: int = 0) -> None:
        self._places = places
        self._max_waiting = max_waiting
        self._spare = spare
        self._held: dict[str, int] = {}
        self._waiting: dict[str, deque[Ticket]] = {}
        self._served: dict[str, int] = {}
        """The number of the last grant to each session that holds a place or waits for one."""
        self._grants = 0

    @property
    def free(self) -> int:
        """The number of places that nobody holds; negative if `resize` took away held ones."""
        return self._places - sum(self._held.values())

    @property
    def waiting(self) -> int:
        """The number of tickets that wait."""
        return sum(map(len, self._waiting.values()))

    def resize(self, places: int) -> None:
        """Change the number of places. Places that are held stay held."""
        self._places = places
        self._grant()

    def enter(self, session: str) -> Ticket:
        """Return a ticket that claims a place. The caller must call its `leave` in any case.

        Raises Failure: RESOURCE_EXHAUSTED if too many tickets of the session wait already.
        """
        queue = self._waiting.setdefault(session, deque())
        if len(queue) >= self._max_waiting:
            message = "too many replies of this client are waiting for the model"
            raise Failure(Code.RESOURCE_EXHAUSTED, message, retryable=True)
        ticket = Ticket(self, session)
        queue.append(ticket)
        self._grant()
        return ticket

    def released(self, ticket: Ticket) -> None:
        """Take back a ticket. Only `Ticket.leave` calls this."""
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
        """Return the session to grant a place to next, or None if no session can get one now."""
        free = self.free
        if free <= 0:
            return None
        held, served = self._held, self._served
        able = [name for name in self._waiting if held.get(name, 0) * self._spare < free]
        return min(able, key=lambda name: (held.get(name, 0), served.get(name, 0)), default=None)
