"""What the tests of named actors share: a type of them, and the log of what its actors do."""

import asyncio
from collections.abc import Awaitable, Callable

from actors import Actor, ActorRef, ActorSystem, Code, Failure, Registry, Rejected, Reply
from actors.requests.background import Extensions
from actors.requests.named import NAMED
from actors.runtime.supervision import Lifecycle
from tests.support.kit import Do, Worker

MISSING = Failure(Code.NOT_FOUND, "there is no such place")


class Place(Worker):
    """A named actor that does what it is told, under the rules of its `Map`."""

    def __init__(self, places: "Map", key: str) -> None:
        super().__init__(places.log, key)
        self.places = places

    async def started(self) -> None:
        await self.places.gate(f"start {self.name}")
        if self.name in self.places.missing:
            self.places.rejected += 1
            raise Rejected(MISSING)
        if self.places.failing.get(self.name, 0):
            self.places.failing[self.name] -= 1
            raise OSError("the disk is away")
        self.log.append(f"{self.name} started")
        self.places.alive.append(self.name)
        assert self.places.alive.count(self.name) == 1, "two incarnations at once"

    async def stopped(self) -> None:
        try:
            await self.places.gate(f"stop {self.name}")
        except asyncio.CancelledError:
            self.log.append(f"{self.name} goes on")
            await self.places.gate(f"stop {self.name}")
        self.log.append(f"{self.name} stopped")
        self.places.alive.remove(self.name)


class Map:
    """All places: what they have logged, and what they are to do.

    missing: keys to reject. failing: how many starts of a key raise. closed: the gates, such as
    "stop a", at which a hook waits until they are opened.
    """

    def __init__(self) -> None:
        self.log: list[str] = []
        self.alive: list[str] = []
        self.missing: set[str] = set()
        self.rejected = 0
        self.failing: dict[str, int] = {}
        self.closed: dict[str, asyncio.Event] = {}

    def make(self, key: str) -> Place:
        return Place(self, key)

    async def gate(self, name: str) -> None:
        if name in self.closed:
            await self.closed[name].wait()

    def close(self, name: str) -> None:
        self.closed[name] = asyncio.Event()

    def open(self, name: str) -> None:
        self.closed.pop(name).set()

    async def serve(
        self,
        system: ActorSystem,
        *,
        at_most: int = 100,
        idle: float = 60.0,
        lifecycle: Lifecycle = NAMED,
    ) -> "Callable[[str], ActorRef[Do]]":
        """Start the directory; return what makes a ref from a key."""
        registry = Registry()
        registry.named(Place, self.make, at_most=at_most, idle=idle, lifecycle=lifecycle)
        await start(system, registry)
        return lambda key: registry.actor(Place, key)


async def start(system: ActorSystem, registry: Registry) -> None:
    """Start what the registry has, as the service does."""
    await system.start(lambda: Extensions(registry.background_actors), name="extensions")


async def who(ref: ActorRef[Do], timeout: float = 1000.0) -> Actor[Do]:
    """Ask a named actor for itself: the object of this incarnation."""

    def question(reply: Reply[Actor[Do]]) -> Do:
        def answer(worker: Worker) -> None:
            reply.send(worker)

        return answer

    return await ref.ask(question, timeout=timeout)


def do(call: Callable[[Worker], Awaitable[None] | None]) -> Do:
    """Return a message that has the actor make this call."""
    return call
