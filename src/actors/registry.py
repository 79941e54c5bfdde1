"""Which actor type answers which message."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar, cast

from actors.errors import AlreadyRegistered
from actors.frames import Message

if TYPE_CHECKING:
    from actors.request import Handler

Req = TypeVar("Req", bound=Message)


class Registration:
    """One actor type for one message type, and how many of it run now, in all sessions."""

    __slots__ = ("factory", "message", "running")

    def __init__(self, message: type[Message], factory: "Callable[[], Handler[Message]]") -> None:
        self.message = message
        self.factory = factory
        self.running = 0

    @property
    def label(self) -> str:
        """What is registered, for an error."""
        return getattr(self.factory, "__qualname__", repr(self.factory))


class Registry:
    """Message type to actor type. Filled before the service starts, only read after."""

    def __init__(self) -> None:
        self._registrations: dict[type[Message], Registration] = {}

    def register(self, message: type[Req], actor: "Callable[[], Handler[Req]]") -> None:
        """Have `actor` (its class, or what makes one) answer `message`.

        An actor whose request type is another is a type error. Raises AlreadyRegistered if the
        message has an actor type; both are named.
        """
        registration = Registration(message, cast("Callable[[], Handler[Message]]", actor))
        before = self._registrations.get(message)
        if before is not None:
            raise AlreadyRegistered(
                f"{message.__name__} is answered by {before.label}, "
                f"{registration.label} cannot be registered too"
            )
        self._registrations[message] = registration

    def find(self, message: type[Message]) -> Registration | None:
        """The registration for this message type."""
        return self._registrations.get(message)

    def messages(self) -> Iterable[type[Message]]:
        """All message types that are answered, in the order of registration."""
        return self._registrations.keys()
