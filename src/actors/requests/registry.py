"""The registry of what extensions add: request, background and named actors, and interceptors."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar, cast

from actors.errors import AlreadyRegistered, NotRegistered
from actors.protocol.frames import Message
from actors.requests.background import BACKGROUND, BackgroundActor, BackgroundActors
from actors.requests.interceptors import Interceptor
from actors.requests.named import NAMED, Directory
from actors.runtime.actor import Actor
from actors.runtime.crashes import is_crash
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
    """The actor type for one message type, and how many of its requests are now in flight.

    running: the count, in all sessions together. takes: the type of a duplex actor's inputs; None
    for other kinds.
    """

    __slots__ = (
        "_beyond_limit", "factory", "interceptors", "message", "name", "running", "said_at_once",
        "takes", "waits",
    )  # fmt: skip

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
        """Answer types of plain functions that are known not to be awaitable."""
        self.interceptors: Sequence[Interceptor[Message]] = ()
        self.waits: bool = False
        """Whether the last handler that might have answered in its first step had to wait."""
        self._beyond_limit: bool | None = None

    @property
    def beyond_limit(self) -> bool:
        """Whether its requests are admitted beyond the limit on requests in flight.

        A factory that is not the class itself is called once to find out; if it crashes, the answer
        is no, and the next time it is asked again.
        """
        if self._beyond_limit is None:
            if isinstance(self.factory, type):
                kind = cast("type[AnyHandler]", self.factory)
            else:
                try:
                    kind = type(self.factory())
                except BaseException as error:
                    if not is_crash(error):
                        raise
                    return False
            self._beyond_limit = kind.beyond_limit
        return self._beyond_limit

    @property
    def label(self) -> str:
        """The module and name of the factory, for an error message."""
        return label(self.factory)


def label(made: object) -> str:
    """Return the module and name of a class or function, for an error message."""
    name = getattr(made, "__qualname__", None)
    if name is None:
        return repr(made)
    return f"{getattr(made, '__module__', '?')}.{name.removesuffix('.<locals>.<lambda>')}"


class BeyondLimit:
    """The message types whose requests are admitted beyond the limit on requests in flight.

    Asked only for requests at that limit, so that the others cost nothing.
    """

    def __init__(self, registrations: Mapping[type[Message], Registration]) -> None:
        self._registrations = registrations

    def __contains__(self, message: object) -> bool:
        registration = self._registrations.get(cast("type[Message]", message))
        return registration is not None and registration.beyond_limit


class Registry:
    """The actor type for each message type, the interceptors and the background actors.

    It is filled before the service starts and only read afterwards. It holds no global state, so a
    test can fill its own.
    """

    def __init__(self) -> None:
        self._registrations: dict[type[Message], Registration] = {}
        self.by_message: Mapping[type[Message], Registration] = self._registrations
        """The registration for each message type, in order of registration."""
        self.beyond_limit: BeyondLimit = BeyondLimit(self._registrations)
        """The message types that are admitted beyond the limit on requests in flight."""
        self._interceptors: list[tuple[type[Message] | None, Interceptor[Message]]] = []
        self._background_actors = BackgroundActors()

    # -- request actors ----------------------------------------------------------------------

    def register(self, message: type[Req], actor: "Callable[[], Handler[Req]]") -> None:
        """Register `actor` (a class or a factory) to answer `message`.

        For a RequestActor or a StreamActor; a different request type is a type error in mypy.
        Raises AlreadyRegistered, which names both, if `message` already has an actor type.
        """
        self._add(Registration(message, actor))

    def register_duplex(
        self, message: type[Req], takes: type[In], actor: "Callable[[], DuplexActor[Req, In, Rep]]"
    ) -> None:
        """Register `actor` to answer `message` and to take inputs of type `takes` meanwhile.

        Raises AlreadyRegistered as `register` does.
        """
        self._add(Registration(message, actor, takes))

    def _add(self, registration: Registration) -> None:
        message = registration.message
        before = self._registrations.get(message)
        if before is not None:
            raise AlreadyRegistered(
                f"{message.__name__} is already answered by {before.label}; "
                f"{registration.label} cannot be registered too"
            )
        self._registrations[message] = registration
        self._deal_interceptors()

    def messages(self) -> Iterable[type[Message]]:
        """Return all registered message types, in order of registration."""
        return self._registrations.keys()

    def registrations(self) -> Iterable[Registration]:
        """Return all registrations, in order of registration."""
        return self._registrations.values()

    # -- interceptors ------------------------------------------------------------------------

    def intercept_all(self, interceptor: Interceptor[Message]) -> None:
        """Put `interceptor` around every request, of any extension. The first is outermost."""
        self._interceptors.append((None, interceptor))
        self._deal_interceptors()

    def intercept(self, message: type[Req], interceptor: Interceptor[Req]) -> None:
        """Put `interceptor` around the requests of one message type."""
        self._interceptors.append((message, cast("Interceptor[Message]", interceptor)))
        self._deal_interceptors()

    def _deal_interceptors(self) -> None:
        for message, registration in self._registrations.items():
            registration.interceptors = tuple(
                interceptor for of, interceptor in self._interceptors if of in (None, message)
            )

    # -- background actors -------------------------------------------------------------------

    def supervise(
        self, name: str, factory: Callable[[], Actor[M]], lifecycle: Lifecycle = BACKGROUND
    ) -> None:
        """Register a background actor (a cache, a connection, a device) for the service to run.

        Background actors start in order of registration, before the first request, each when the
        one before it is ready; handlers reach them with `self.context.actor(Type)`. The default
        lifecycle restarts one that crashes, after a growing pause, and gives it up on more than 10
        crashes within 5 minutes; the service continues. Raises AlreadyRegistered if the name is
        taken or the type is registered with `named`. (If `factory` is not the class itself, its
        type is known, and checked, when the actor is started.)
        """
        if self._background_actors.is_named(factory):
            raise AlreadyRegistered(f"{label(factory)} is registered with `named` already")
        before = self._background_actors.named(name)
        if before is not None:
            raise AlreadyRegistered(
                f"the name {name!r} is taken by {label(before.factory)}; "
                f"{label(factory)} needs another one"
            )
        self._background_actors.add(BackgroundActor(name, factory, lifecycle))

    def named(
        self,
        kind: type[Actor[M]],
        factory: Callable[[str], Actor[M]],
        *,
        at_most: int = 1000,
        idle: float = 60.0,
        lifecycle: Lifecycle = NAMED,
    ) -> None:
        """Register actors of type `kind`, one for each key, for handlers to reach by their key.

        `self.context.actor(kind, key)` returns a ref that stands for the key: the first message to
        it starts the actor, made by `factory(key)`. An actor is passivated (stopped until the next
        message) when it has had no message for `idle` seconds of the system's clock, or when it is
        the one that has been idle longest and more than `at_most` would be alive. That happens only
        while it handles nothing and has no waiting message, no question without an answer, no
        child, no timer and no hold (`self.context.hold()`).

        `started` may raise Rejected if there is nothing of that key. Each actor is restarted on its
        own; one that exceeds its intensity makes its key unavailable for a pause. Raises
        AlreadyRegistered if the type is registered already, and ValueError if a limit is not
        positive.
        """
        actors = self._background_actors
        if actors.is_named(kind) or any(actor.factory is kind for actor in actors):
            raise AlreadyRegistered(f"{label(kind)} is registered already")
        directory = Directory(kind, factory, at_most, idle, lifecycle)
        free = actors.named(kind.__name__) is None
        actors.add_directory(kind.__name__ if free else label(kind), directory)

    def actor(self, kind: type[Actor[M]], name: str | None = None) -> ActorRef[M]:
        """Return the ref of a named actor, or of a background actor that has been started.

        name: the key of a named actor; of a background actor, its name, needed if there are
        several of that class. Raises NotRegistered. Use this for an actor that needs another:
        `registry.supervise("b", lambda: B(registry.actor(A)))`.
        """
        return self._background_actors.find(kind, name)

    @property
    def background_actors(self) -> BackgroundActors:
        """The background actors, for the supervisor that starts them."""
        return self._background_actors

    def check(self) -> None:
        """Raise NotRegistered if an interceptor is for a message type without an actor type."""
        for message, interceptor in self._interceptors:
            if message is not None and message not in self._registrations:
                raise NotRegistered(
                    f"{label(interceptor)} intercepts {message.__name__}, which no actor answers"
                )
