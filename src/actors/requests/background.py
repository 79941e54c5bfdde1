"""Long-lived actors of extensions: who they are, who looks after them, how they are found."""

from collections.abc import Callable, Iterator
from typing import Final, Never, TypeVar, cast

from actors.errors import NotRegistered
from actors.runtime.actor import Actor
from actors.runtime.ref import ActorRef
from actors.runtime.supervision import Backoff, Intensity, Lifecycle

M = TypeVar("M")

BACKGROUND: Final = Lifecycle(
    backoff=Backoff(initial=0.1, maximum=30.0), intensity=Intensity(restarts=10, period=300.0)
)
"""One that crashes again and again is given up alone: it costs its extension, not the service."""


class BackgroundActor:
    """A long-lived actor: how it is made and, once it has been, its type and its ref."""

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
        """A new incarnation."""
        actor = self.factory()
        self.kind = type(actor)
        return actor


class BackgroundActors:
    """All of them, in the order in which they start."""

    def __init__(self) -> None:
        self._members: dict[str, BackgroundActor] = {}

    def __iter__(self) -> Iterator[BackgroundActor]:
        return iter(self._members.values())

    def add(self, background: BackgroundActor) -> None:
        """One more; its name is not taken."""
        self._members[background.name] = background

    def named(self, name: str) -> BackgroundActor | None:
        """The one of that name."""
        return self._members.get(name)

    def find(self, kind: type[Actor[M]], name: str | None = None) -> ActorRef[M]:
        """The ref of the one of this type; `name` where there are several.

        Raises NotRegistered if none has been started, or several and no name says which.
        """
        found = [
            member
            for member in self._members.values()
            if member.kind is not None
            and issubclass(member.kind, kind)
            and name in (None, member.name)
        ]
        if len(found) == 1 and found[0].ref is not None:
            return cast("ActorRef[M]", found[0].ref)
        wanted = kind.__name__ if name is None else f"{kind.__name__} of the name {name!r}"
        if len(found) > 1:
            names = ", ".join(repr(member.name) for member in found)
            raise NotRegistered(f"there are several actors {wanted}, name one: {names}")
        raise NotRegistered(f"no actor {wanted} runs; `registry.supervise` has one started")


class Extensions(Actor[Never]):
    """The supervisor of the long-lived actors: starts them in order, stops them in reverse.

    If one does not start, those before it are stopped again and this one has not started.
    """

    def __init__(self, background_actors: BackgroundActors) -> None:
        self._background_actors = background_actors

    async def started(self) -> None:
        """Start them, each when the one before it is ready."""
        for background in self._background_actors:
            background.ref = await self.context.start(
                background.make, name=background.name, lifecycle=background.lifecycle
            )

    def receive(self, message: Never) -> None:
        """Nothing: a supervisor has no messages."""
