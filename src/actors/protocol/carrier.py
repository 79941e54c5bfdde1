"""What a session asks of the connection that carries its answers."""

from typing import Final, Protocol


class Carrier(Protocol):
    """What takes answers to the client."""

    def wake(self) -> None:
        """There may be something to take; take it later, not in here."""


class Nobody:
    """In place of a carrier."""

    def wake(self) -> None:
        """Nothing is to be woken."""


NOBODY: Final[Carrier] = Nobody()
