"""The actors of the backend `openai`: the owner of its HTTP session, and a poller for outages."""

from dataclasses import dataclass
from typing import Final, Never, Protocol

from actors import Actor, Lifecycle

LOOK_AGAIN: Final = 30.0
"""Seconds between two looks at a server that could not be reached."""


class Owner(Protocol):
    """What these actors need of the backend."""

    async def connect(self) -> None:
        """Open the HTTP session."""

    async def disconnect(self) -> None:
        """Close the HTTP session."""

    async def look_again(self) -> None:
        """Ask the server again if it could not be reached when it was last asked."""


@dataclass(frozen=True, slots=True)
class LookAgain:
    """See whether a server is back that could not be reached."""


class Lookout(Actor[LookAgain]):
    """Keeps what is known of a server up to date that nobody sends anything to."""

    def __init__(self, owner: "Owner") -> None:
        self._owner = owner

    def started(self) -> None:
        """Look for the first time in a while."""
        self.context.after(LOOK_AGAIN, LookAgain())

    async def receive(self, message: LookAgain) -> None:
        """Look, and again later."""
        await self._owner.look_again()
        self.context.after(LOOK_AGAIN, message)


class HttpSession(Actor[Never]):
    """Opens the HTTP session when it starts and closes it when it stops."""

    def __init__(self, owner: "Owner") -> None:
        self._owner = owner

    async def started(self) -> None:
        """Open it, and see which models there are."""
        await self._owner.connect()
        self.context.spawn(
            lambda: Lookout(self._owner), name="lookout", lifecycle=Lifecycle(shutdown=0.0)
        )

    def receive(self, message: Never) -> None:
        """Nothing: the session is used by plain calls, in the actors of the requests."""

    async def stopped(self) -> None:
        """Close it."""
        await self._owner.disconnect()
