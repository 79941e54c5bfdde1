"""The baseline: an actor written without a library, as an `asyncio.Queue` and a task.

One kind of actor serves all columns. It has what such an actor needs at least, in its plainest
form:

- a bounded mailbox; `tell` raises QueueFull;
- `ask` with a deadline (`asyncio.timeout`); the caller is told if the actor crashes on it;
- a name in a registry, from start to end;
- a loop that supervises it: after a crash, which is counted, a new object from the same factory
  continues with the same mailbox, in the same task;
- a stop after the messages in the mailbox, which can be awaited.

It has no children, watch, intensity, pause, limit on a stop, snapshot or events.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Final, Protocol

from bench.sizes import ASKS, BATCH, CRASHES, HOPS, RING, SPAWNED, SPAWNS, TELLS

STOP: Final = object()


class Boom(Exception):
    """The exception with which the actor crashes."""


class Receiver(Protocol):
    """Handles messages."""

    async def receive(self, message: object) -> None:
        """Handle one message."""


class Question:
    """A question and the future for its answer."""

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
        """Send a message without waiting."""
        self.queue.put_nowait(message)

    async def ask(self, number: int, timeout: float) -> int:
        """Send a question and wait for the answer."""
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.tell(Question(number, future))
        async with asyncio.timeout(timeout):
            return await future

    async def stop(self) -> None:
        """Stop after the messages in the mailbox, and wait for that."""
        self.tell(STOP)
        await self.task

    async def supervise(self) -> None:
        """Start again after each crash."""
        try:
            while True:
                try:
                    await self.run(self.factory())
                except Exception as error:  # noqa: BLE001 - any crash
                    self.crashes += 1
                    if isinstance(self.in_hand, Question) and not self.in_hand.future.done():
                        self.in_hand.future.set_exception(error)
                else:
                    return
        finally:
            del self.registry[self.name]

    async def run(self, receiver: Receiver) -> None:
        """Handle one message after another, until STOP."""
        while (message := await self.queue.get()) is not STOP:
            self.in_hand = message
            await receiver.receive(message)


class Count:
    """Sets `done` at 0."""

    def __init__(self, done: asyncio.Event) -> None:
        self.done = done

    async def receive(self, message: object) -> None:
        """Set `done` at 0."""
        if message == 0:
            self.done.set()


class Crash(Count):
    """Crashes on every message except 0."""

    async def receive(self, message: object) -> None:
        """Crash, or set `done` at 0."""
        if message:
            raise Boom
        self.done.set()


class Answer:
    """Answers questions."""

    async def receive(self, message: object) -> None:
        """Send the number back."""
        assert isinstance(message, Question)
        message.future.set_result(message.number)


class Idle:
    """Does nothing."""

    async def receive(self, message: object) -> None:
        """Do nothing."""


class Ring(Count):
    """Passes messages on."""

    next: QueueActor

    async def receive(self, message: object) -> None:
        """Pass the number on, one less, or set `done` at 0."""
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
    """Send many messages to one actor."""
    return await _count_down(Count, TELLS)


async def ask() -> int:
    """Ask one question after another, each with a deadline."""
    actor = QueueActor({}, "answer", Answer)
    for n in range(ASKS):
        assert await actor.ask(n, timeout=10.0) == n
    await actor.stop()
    return ASKS


async def spawn() -> int:
    """Create actors that handle one message and end."""
    registry: dict[str, QueueActor] = {}
    for first in range(0, SPAWNS, SPAWNED):
        actors = [QueueActor(registry, str(first + number), Idle) for number in range(SPAWNED)]
        for actor in actors:
            actor.tell(1)
        for actor in actors:
            await actor.stop()
    return SPAWNS


async def ring() -> int:
    """Send one message round a ring of actors."""
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
    """Send messages that crash the actor, which restarts after each."""
    return await _count_down(Crash, CRASHES)


async def idle(count: int, used: bool) -> object:
    """Create `count` waiting actors."""
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
