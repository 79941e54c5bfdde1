"""The actors of the backend `openai`: the owner of its HTTP session, and a poller for outages."""

from dataclasses import dataclass
from typing import Final, Never, Protocol

from actors import Actor, Lifecycle

LOOK_AGAIN: Final = 30.0
"""Seconds between checks of a server that could not be reached."""


class Owner(Protocol):
    """The part of the backend that these actors use."""

    async def connect(self) -> None:
        """Open the HTTP session."""

    async def disconnect(self) -> None:
        """Close the HTTP session."""

    async def look_again(self) -> None:
        """Ask the server again if it could not be reached the last time."""


@dataclass(frozen=True, slots=True)
class LookAgain:
    """Check whether an unreachable server is back."""


class Lookout(Actor[LookAgain]):
    """Notices the end of an outage even while no client sends requests."""

    def __init__(self, owner: "Owner") -> None:
        self._owner = owner

    def started(self) -> None:
        """Schedule the first check."""
        self.context.after(LOOK_AGAIN, LookAgain())

    async def receive(self, message: LookAgain) -> None:
        """Check, and schedule the next check."""
        await self._owner.look_again()
        self.context.after(LOOK_AGAIN, message)


class HttpSession(Actor[Never]):
    """Opens the HTTP session when it starts and closes it when it stops."""

    def __init__(self, owner: "Owner") -> None:
        self._owner = owner

    async def started(self) -> None:
        """Open the session, list the models and start the poller."""
        await self._owner.connect()
        self.context.spawn(
            lambda: Lookout(self._owner), name="lookout", lifecycle=Lifecycle(shutdown=0.0)
        )

    def receive(self, message: Never) -> None:
        """Do nothing: the actors of the requests call the session directly."""

    async def stopped(self) -> None:
        """Close the session."""
        await self._owner.disconnect()
