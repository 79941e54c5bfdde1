"""Background actors of extensions: their list, their supervisor and how they are found.

The directories of named actors (`actors.requests.named`) are background actors too.
"""

from collections.abc import Callable, Iterator
from typing import Final, Never, TypeVar, cast

from actors.errors import AlreadyRegistered, NotRegistered
from actors.requests.named import Directory
from actors.runtime.actor import Actor
from actors.runtime.ref import ActorRef
from actors.runtime.supervision import Backoff, Intensity, Lifecycle

M = TypeVar("M")

BACKGROUND: Final = Lifecycle(
    backoff=Backoff(initial=0.1, maximum=30.0), intensity=Intensity(restarts=10, period=300.0)
)
"""The default lifecycle. One that keeps crashing is given up alone; the service continues."""


class BackgroundActor:
    """A background actor: its factory and, once it has been started, its type and its ref."""

    __slots__ = ("factory", "kind", "lifecycle", "name", "ref")

    def __init__(
        self, name: str, factory: Callable[[], Actor[Never]], lifecycle: Lifecycle
    ) -> None:
        self.name: str = name
        self.factory: Callable[[], Actor[Never]] = factory
        self.lifecycle: Lifecycle = lifecycle
        self.kind: type[Actor[Never]] | None = None
        self.ref: ActorRef[Never] | None = None

    def make(self) -> Actor[Never]:
        """Make a new incarnation and record its type."""
        actor = self.factory()
        self.kind = type(actor)
        return actor


class BackgroundActors:
    """All background actors, in the order in which they start."""

    def __init__(self) -> None:
        self._members: dict[str, BackgroundActor] = {}
        self._directories: list[Directory[Never]] = []

    def __iter__(self) -> Iterator[BackgroundActor]:
        return iter(self._members.values())

    def add(self, background: BackgroundActor) -> None:
        """Add a background actor, whose name must be free."""
        self._members[background.name] = background

    def add_directory(self, name: str, directory: Directory[M]) -> None:
        """Add the directory of a type's named actors, under a name that must be free."""
        self._directories.append(cast("Directory[Never]", directory))
        self.add(BackgroundActor(name, lambda: directory, BACKGROUND))

    def is_named(self, kind: object) -> bool:
        """Return whether this is a class whose actors are named."""
        return any(directory.kind is kind for directory in self._directories)

    def named(self, name: str) -> BackgroundActor | None:
        """Return the background actor of that name, or None."""
        return self._members.get(name)

    def find(self, kind: type[Actor[M]], name: str | None = None) -> ActorRef[M]:
        """Return the ref of the one of type `kind`; `name` selects one of several.

        If the actors of that type are named, `name` is the key. Raises NotRegistered if none has
        been started, or if there are several and no name is given.
        """
        for directory in self._directories:
            if directory.kind is kind:
                if name is None:
                    raise NotRegistered(f"the actors {kind.__name__} are named: give a key")
                return cast("ActorRef[M]", directory.ref(name))
        found = [
            member
            for member in self._members.values()
            if member.kind is not None
            and issubclass(member.kind, kind)
            and name in (None, member.name)
        ]
        if len(found) == 1 and found[0].ref is not None:
            return cast("ActorRef[M]", found[0].ref)
        wanted = kind.__name__ if name is None else f"{kind.__name__} named {name!r}"
        if len(found) > 1:
            names = ", ".join(repr(member.name) for member in found)
            raise NotRegistered(f"there are several actors {wanted}; name one of {names}")
        raise NotRegistered(f"no actor {wanted} is running; register one with `registry.supervise`")

    def check(self, background: BackgroundActor) -> None:
        """Raise AlreadyRegistered if the actor that was started is of a type that is named."""
        kind = background.kind
        if kind is not None and self.is_named(kind):
            raise AlreadyRegistered(
                f"the actor {background.name!r} is a {kind.__name__}, whose actors are named"
            )


class Extensions(Actor[Never]):
    """The supervisor of the background actors: starts them in order, stops them in reverse.

    If one does not start, those before it are stopped again and the supervisor does not start.
    """

    def __init__(self, background_actors: BackgroundActors) -> None:
        self._background_actors = background_actors

    async def started(self) -> None:
        """Start the background actors in order, each when the one before it is ready."""
        for background in self._background_actors:
            background.ref = await self.context.start(
                background.make, name=background.name, lifecycle=background.lifecycle
            )
            self._background_actors.check(background)

    def receive(self, message: Never) -> None:
        """Do nothing: a supervisor has no messages."""
