"""What an extension brings: actor types for messages, long-lived actors, interceptors."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar, cast

from actors.errors import AlreadyRegistered, NotRegistered
from actors.protocol.frames import Message
from actors.requests.background import BACKGROUND, BackgroundActor, BackgroundActors
from actors.requests.interceptors import Interceptor
from actors.runtime.actor import Actor
from actors.runtime.ref import ActorRef
from actors.runtime.supervision import Lifecycle

if TYPE_CHECKING:
    from actors.requests.duplex import DuplexActor
    from actors.requests.request import AnyHandler, Handler

Req = TypeVar("Req", bound=Message)
In = TypeVar("In", bound=Message)
Rep = TypeVar("Rep", bound=Message)
M = TypeVar("M")


class Registration:
    """One actor type for one message type, and how many of it run now, in all sessions.

    takes: the type of the further messages that a duplex actor gets; None for the other kinds.
    """

    __slots__ = ("factory", "interceptors", "message", "name", "running", "said_at_once", "takes")

    def __init__(
        self,
        message: type[Message],
        factory: "Callable[[], AnyHandler]",
        takes: type[Message] | None = None,
    ) -> None:
        self.message: type[Message] = message
        self.name: str = message.__name__
        self.factory: Callable[[], AnyHandler] = factory
        self.takes: type[Message] | None = takes
        self.running: int = 0
        self.said_at_once: set[type] = set()
        """What plain functions have returned that is not to be awaited."""
        self.interceptors: Sequence[Interceptor[Message]] = ()

    @property
    def label(self) -> str:
        """What is registered, for an error: its module and its name there."""
        return label(self.factory)


def label(made: object) -> str:
    """A class or a function, for an error: its module and its name there."""
    name = getattr(made, "__qualname__", None)
    if name is None:
        return repr(made)
    return f"{getattr(made, '__module__', '?')}.{name.removesuffix('.<locals>.<lambda>')}"


class Registry:
    """Message type to actor type, and what else extensions bring.

    Filled before the service starts, only read after. Nothing in it is global: a test fills its
    own.
    """

    def __init__(self) -> None:
        self._registrations: dict[type[Message], Registration] = {}
        self.by_message: Mapping[type[Message], Registration] = self._registrations
        """The registration for each message type, in the order of registration."""
        self._interceptors: list[tuple[type[Message] | None, Interceptor[Message]]] = []
        self._background_actors = BackgroundActors()

    # -- request actors ----------------------------------------------------------------------

    def register(self, message: type[Req], actor: "Callable[[], Handler[Req]]") -> None:
        """Have `actor` (its class, or what makes one) answer `message`.

        For a RequestActor or a StreamActor; one whose request type is another is a type error.
        Raises AlreadyRegistered if the message has an actor type; both are named.
        """
        self._add(Registration(message, actor))

    def register_duplex(
        self, message: type[Req], takes: type[In], actor: "Callable[[], DuplexActor[Req, In, Rep]]"
    ) -> None:
        """Have `actor` answer `message`, and take messages of type `takes` while it does.

        Raises AlreadyRegistered, as `register`.
        """
        self._add(Registration(message, actor, takes))

    def _add(self, registration: Registration) -> None:
        message = registration.message
        before = self._registrations.get(message)
        if before is not None:
            raise AlreadyRegistered(
                f"{message.__name__} is answered by {before.label}, "
                f"{registration.label} cannot be registered too"
            )
        self._registrations[message] = registration
        self._deal_interceptors()

    def messages(self) -> Iterable[type[Message]]:
        """All message types that are answered, in the order of registration."""
        return self._registrations.keys()

    def registrations(self) -> Iterable[Registration]:
        """All registrations, in their order."""
        return self._registrations.values()

    # -- interceptors ------------------------------------------------------------------------

    def intercept_all(self, interceptor: Interceptor[Message]) -> None:
        """Put `interceptor` round every request, whoever registers it. The first is outermost."""
        self._interceptors.append((None, interceptor))
        self._deal_interceptors()

    def intercept(self, message: type[Req], interceptor: Interceptor[Req]) -> None:
        """Put `interceptor` round the requests of one message type."""
        self._interceptors.append((message, cast("Interceptor[Message]", interceptor)))
        self._deal_interceptors()

    def _deal_interceptors(self) -> None:
        for message, registration in self._registrations.items():
            registration.interceptors = tuple(
                interceptor for of, interceptor in self._interceptors if of in (None, message)
            )

    # -- long-lived actors -------------------------------------------------------------------

    def supervise(
        self, name: str, factory: Callable[[], Actor[M]], lifecycle: Lifecycle = BACKGROUND
    ) -> None:
        """Have the service start an actor and look after it: a cache, a connection, a device.

        They start in this order, before the first request, each when the one before is ready;
        handlers reach them by `self.context.actor(Type)`. The default lifecycle restarts one that
        crashes, with a pause that grows, and gives it up after 10 crashes within 5 minutes; the
        service lives on. Raises AlreadyRegistered if the name is taken.
        """
        before = self._background_actors.named(name)
        if before is not None:
            raise AlreadyRegistered(
                f"the actor {name!r} is made by {label(before.factory)}, "
                f"{label(factory)} cannot have the same name"
            )
        self._background_actors.add(BackgroundActor(name, factory, lifecycle))

    def actor(self, kind: type[Actor[M]], name: str | None = None) -> ActorRef[M]:
        """The ref of a long-lived actor that runs. Raises NotRegistered.

        For one that needs another: `registry.supervise("b", lambda: B(registry.actor(A)))`.
        """
        return self._background_actors.find(kind, name)

    @property
    def background_actors(self) -> BackgroundActors:
        """The long-lived actors, for who starts them."""
        return self._background_actors

    def check(self) -> None:
        """Raise NotRegistered if an interceptor is round a message that nobody answers."""
        for message, interceptor in self._interceptors:
            if message is not None and message not in self._registrations:
                raise NotRegistered(
                    f"{label(interceptor)} intercepts {message.__name__}, which no actor answers"
                )
