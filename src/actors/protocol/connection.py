"""The interface of the connection that carries a session's answers."""

from typing import Final, Protocol


class Connection(Protocol):
    """The service's end of a WebSocket, as a session sees it."""

    def wake(self) -> None:
        """Note that there may be something to take; take it later, not during this call."""

    def close(self, code: int, reason: str) -> None:
        """Close the WebSocket once the contents of the send queue have been sent."""


class NoConnection:
    """Stands for the connection while there is none."""

    def wake(self) -> None:
        """Do nothing."""

    def close(self, code: int, reason: str) -> None:
        """Do nothing."""


NO_CONNECTION: Final[Connection] = NoConnection()
