"""The yardstick: an actor as most write it, an `asyncio.Queue` and a task that waits on it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Final

from bench.sizes import ASKS, BATCH, CRASHES, HOPS, RING, SPAWNED, SPAWNS, TELLS

STOP: Final = object()


class Boom(Exception):
    """What the actor crashes with."""


class QueueActor:
    """Counts down and then says so; passes on; answers; crashes."""

    def __init__(self, done: asyncio.Event | None = None) -> None:
        self.queue: asyncio.Queue[object] = asyncio.Queue(1024)
        self.done = done
        self.task = asyncio.create_task(self.run())
        self.next: QueueActor | None = None

    def tell(self, message: object) -> None:
        """Send and go on."""
        self.queue.put_nowait(message)

    async def ask(self, question: int) -> int:
        """Send and wait, without a deadline."""
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.tell((question, future))
        return await future

    async def run(self) -> None:
        """Handle one message after the other."""
        while True:
            await self.handle(await self.queue.get())

    async def handle(self, message: object) -> None:
        """Say so at 0."""
        if message == 0 and self.done is not None:
            self.done.set()


class Answering(QueueActor):
    """Answers."""

    async def handle(self, message: object) -> None:
        """Answer."""
        assert isinstance(message, tuple)
        question, future = message
        future.set_result(question)


class Once(QueueActor):
    """Ends when it is told to."""

    async def run(self) -> None:
        """Handle messages until it is told to stop."""
        while (message := await self.queue.get()) is not STOP:
            await self.handle(message)


class Ring(QueueActor):
    """Passes on."""

    async def handle(self, message: object) -> None:
        """Pass it on."""
        assert isinstance(message, int)
        if message:
            assert self.next is not None
            self.next.tell(message - 1)
        else:
            assert self.done is not None
            self.done.set()


class Supervised:
    """A queue that outlives what works on it: a new object and a new task after each crash."""

    def __init__(self, done: asyncio.Event) -> None:
        self.queue: asyncio.Queue[object] = asyncio.Queue(1024)
        self.done = done
        self.task = asyncio.create_task(self.supervise())

    async def supervise(self) -> None:
        """Begin again."""
        while True:
            worker = Crashing(self.queue, self.done)
            try:
                await asyncio.create_task(worker.run())
            except Boom:
                continue


class Crashing:
    """Works on that queue."""

    def __init__(self, queue: asyncio.Queue[object], done: asyncio.Event) -> None:
        self.queue = queue
        self.done = done

    async def run(self) -> None:
        """Handle one message after the other."""
        while True:
            await self.handle(await self.queue.get())

    async def handle(self, message: object) -> None:
        """Crash, but for the last."""
        if message:
            raise Boom
        self.done.set()


async def tell() -> int:
    """Many messages to one actor."""
    done = asyncio.Event()
    actor = QueueActor(done)
    for _ in range(TELLS // BATCH):
        for n in range(BATCH - 1, -1, -1):
            actor.tell(n)
        await done.wait()
        done.clear()
    return TELLS


async def ask() -> int:
    """One question after the other."""
    actor = Answering()
    for n in range(ASKS):
        assert await actor.ask(n) == n
    return ASKS


async def spawn() -> int:
    """Actors that handle one message and end."""
    for _ in range(SPAWNS // SPAWNED):
        actors = [Once() for _ in range(SPAWNED)]
        for actor in actors:
            actor.tell(1)
        for actor in actors:
            actor.tell(STOP)
        for actor in actors:
            await actor.task
    return SPAWNS


async def ring() -> int:
    """One message that goes round."""
    done = asyncio.Event()
    actors = [Ring(done) for _ in range(RING)]
    for actor, following in zip(actors, [*actors[1:], actors[0]], strict=True):
        actor.next = following
    actors[0].tell(HOPS)
    await done.wait()
    return HOPS


async def crash() -> int:
    """Messages each of which crashes the actor, which is then started again."""
    done = asyncio.Event()
    actor = Supervised(done)
    for _ in range(CRASHES // BATCH):
        for n in range(BATCH - 1, -1, -1):
            actor.queue.put_nowait(n)
        await done.wait()
        done.clear()
    return CRASHES


async def idle(count: int, used: bool) -> object:
    """So many actors that wait."""
    actors = [QueueActor() for _ in range(count)]
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
