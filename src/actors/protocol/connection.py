"""What a session needs of the connection that carries its answers."""

from typing import Final, Protocol


class Connection(Protocol):
    """The service's end of a WebSocket, as a session sees it."""

    def wake(self) -> None:
        """Note that there may be something to take; take it later, not in here."""

    def close(self, code: int, reason: str) -> None:
        """Close the WebSocket, when what is in the send queue has gone out."""


class NoConnection:
    """Stands in for a connection while there is none."""

    def wake(self) -> None:
        """Do nothing."""

    def close(self, code: int, reason: str) -> None:
        """Do nothing."""


NO_CONNECTION: Final[Connection] = NoConnection()
