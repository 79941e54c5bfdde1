"""The yardstick: an actor as one writes it without a library, an `asyncio.Queue` and a task.

One kind of actor in all columns, with what such an actor cannot do without, in its plainest form:

- a bounded mailbox; `tell` raises QueueFull;
- `ask` with a deadline (`asyncio.timeout`), whose asker is told when the actor crashes on it;
- a name in a registry, from the start to the end;
- a loop that supervises it: after a crash, which is counted, a new object from the same factory
  goes on with the same mailbox, in the same task;
- a stop after what is in the mailbox, that can be waited for.

No children, no watch, no intensity, no pause, no limit on a stop, no snapshot, no events.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Final, Protocol

from bench.sizes import ASKS, BATCH, CRASHES, HOPS, RING, SPAWNED, SPAWNS, TELLS

STOP: Final = object()


class Boom(Exception):
    """What the actor crashes with."""


class Receiver(Protocol):
    """Handles messages."""

    async def receive(self, message: object) -> None:
        """Handle one."""


class Question:
    """A question and where its answer goes."""

    __slots__ = ("future", "number")

    def __init__(self, number: int, future: "asyncio.Future[int]") -> None:
        self.number = number
        self.future = future


class QueueActor:
    """A mailbox, a task, and the object that handles the messages."""

    def __init__(
        self, registry: "dict[str, QueueActor]", name: str, factory: Callable[[], Receiver]
    ) -> None:
        self.registry = registry
        self.name = name
        self.factory = factory
        self.crashes = 0
        self.queue: asyncio.Queue[object] = asyncio.Queue(1024)
        self.in_hand: object = None
        registry[name] = self
        self.task = asyncio.create_task(self.supervise())

    def tell(self, message: object) -> None:
        """Send and go on."""
        self.queue.put_nowait(message)

    async def ask(self, number: int, timeout: float) -> int:
        """Send and wait for the answer."""
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.tell(Question(number, future))
        async with asyncio.timeout(timeout):
            return await future

    async def stop(self) -> None:
        """End after what is in the mailbox."""
        self.tell(STOP)
        await self.task

    async def supervise(self) -> None:
        """Begin again after each crash."""
        try:
            while True:
                try:
                    await self.run(self.factory())
                except Exception as error:  # noqa: BLE001 - whatever it is
                    self.crashes += 1
                    if isinstance(self.in_hand, Question) and not self.in_hand.future.done():
                        self.in_hand.future.set_exception(error)
                else:
                    return
        finally:
            del self.registry[self.name]

    async def run(self, receiver: Receiver) -> None:
        """Handle one message after the other."""
        while (message := await self.queue.get()) is not STOP:
            self.in_hand = message
            await receiver.receive(message)


class Count:
    """Says so at 0."""

    def __init__(self, done: asyncio.Event) -> None:
        self.done = done

    async def receive(self, message: object) -> None:
        """Count down."""
        if message == 0:
            self.done.set()


class Crash(Count):
    """Crashes, but for the last."""

    async def receive(self, message: object) -> None:
        """Crash."""
        if message:
            raise Boom
        self.done.set()


class Answer:
    """Answers."""

    async def receive(self, message: object) -> None:
        """Send the number back."""
        assert isinstance(message, Question)
        message.future.set_result(message.number)


class Idle:
    """Has nothing to do."""

    async def receive(self, message: object) -> None:
        """Nothing."""


class Ring(Count):
    """Passes on."""

    next: QueueActor

    async def receive(self, message: object) -> None:
        """Pass it on, one less."""
        assert isinstance(message, int)
        if message:
            self.next.tell(message - 1)
        else:
            self.done.set()


async def _count_down(kind: type[Count], total: int) -> int:
    done = asyncio.Event()
    actor = QueueActor({}, "count", lambda: kind(done))
    for _ in range(total // BATCH):
        for n in range(BATCH - 1, -1, -1):
            actor.tell(n)
        await done.wait()
        done.clear()
    await actor.stop()
    return total


async def tell() -> int:
    """Many messages to one actor."""
    return await _count_down(Count, TELLS)


async def ask() -> int:
    """One question after the other, each with a deadline."""
    actor = QueueActor({}, "answer", Answer)
    for n in range(ASKS):
        assert await actor.ask(n, timeout=10.0) == n
    await actor.stop()
    return ASKS


async def spawn() -> int:
    """Actors that handle one message and end."""
    registry: dict[str, QueueActor] = {}
    for first in range(0, SPAWNS, SPAWNED):
        actors = [QueueActor(registry, str(first + number), Idle) for number in range(SPAWNED)]
        for actor in actors:
            actor.tell(1)
        for actor in actors:
            await actor.stop()
    return SPAWNS


async def ring() -> int:
    """One message that goes round."""
    done = asyncio.Event()
    registry: dict[str, QueueActor] = {}
    members = [Ring(done) for _ in range(RING)]
    actors = [
        QueueActor(registry, str(place), lambda member=member: member)  # type: ignore[misc]  # a default argument
        for place, member in enumerate(members)
    ]
    for member, following in zip(members, [*actors[1:], actors[0]], strict=True):
        member.next = following
    actors[0].tell(HOPS)
    await done.wait()
    return HOPS


async def crash() -> int:
    """Messages each of which crashes the actor, which is then started again."""
    return await _count_down(Crash, CRASHES)


async def idle(count: int, used: bool) -> object:
    """So many actors that wait."""
    registry: dict[str, QueueActor] = {}
    actors = [QueueActor(registry, str(number), Idle) for number in range(count)]
    if used:
        for actor in actors:
            actor.tell(1)
    await asyncio.sleep(0.0)
    await asyncio.sleep(0.0)
    return actors


COLUMNS: Final[dict[str, Callable[[], Coroutine[None, None, int]]]] = {
    "tell": tell,
    "ask": ask,
    "spawn": spawn,
    "ring": ring,
    "crash": crash,
}
