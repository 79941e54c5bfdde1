"""The runtime of this project, with handlers that are coroutine functions and plain ones."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Never

from actors import (
    Actor,
    ActorRef,
    ActorSystem,
    Backoff,
    Intensity,
    Lifecycle,
    Reply,
    Restart,
    Supervision,
)
from bench.sizes import ASKS, BATCH, CRASHES, HOPS, RING, SPAWNED, SPAWNS, TELLS

ONCE: Final = Lifecycle(restart=Restart.TEMPORARY)
AT_ONCE: Final = Lifecycle(
    backoff=Backoff(initial=0.0), intensity=Intensity(restarts=10**9, period=1.0)
)


class Boom(Exception):
    """What the actor crashes with."""


@dataclass(slots=True)
class Question:
    """Wants the number back."""

    number: int
    reply: Reply[int]


class Count(Actor[int]):
    """Says so at 0."""

    def __init__(self, done: asyncio.Event) -> None:
        self.done = done

    async def receive(self, message: int) -> None:
        """Count down."""
        if message == 0:
            self.done.set()


class PlainCount(Count):
    """The same as a plain function."""

    def receive(self, message: int) -> None:  # type: ignore[override]  # either is allowed
        """Count down."""
        if message == 0:
            self.done.set()


class Answer(Actor[Question]):
    """Answers."""

    async def receive(self, message: Question) -> None:
        """Send the number back."""
        message.reply.send(message.number)


class PlainAnswer(Actor[Question]):
    """The same as a plain function."""

    def receive(self, message: Question) -> None:
        """Send the number back."""
        message.reply.send(message.number)


class Once(Actor[int]):
    """Ends after one message."""

    async def receive(self, message: int) -> None:
        """End."""
        self.context.stop()


class PlainOnce(Actor[int]):
    """The same as a plain function."""

    def receive(self, message: int) -> None:
        """End."""
        self.context.stop()


class Ring(Count):
    """Passes on."""

    next: ActorRef[int]

    async def receive(self, message: int) -> None:
        """Pass it on, one less."""
        if message:
            self.next.tell(message - 1)
        else:
            self.done.set()


class PlainRing(Ring):
    """The same as a plain function."""

    def receive(self, message: int) -> None:  # type: ignore[override]  # either is allowed
        """Pass it on, one less."""
        if message:
            self.next.tell(message - 1)
        else:
            self.done.set()


class Crash(Count):
    """Crashes, but for the last."""

    async def receive(self, message: int) -> None:
        """Crash."""
        if message:
            raise Boom
        self.done.set()


class PlainCrash(Count):
    """The same as a plain function."""

    def receive(self, message: int) -> None:  # type: ignore[override]  # either is allowed
        """Crash."""
        if message:
            raise Boom
        self.done.set()


class Top(Actor[Never]):
    """A supervisor that allows anything."""

    supervision = Supervision(intensity=Intensity(restarts=10**9, period=1.0))

    def receive(self, message: Never) -> None:
        """Nothing."""


@asynccontextmanager
async def running() -> AsyncIterator[ActorSystem]:
    """A system, stopped at the end."""
    system = ActorSystem()
    yield system
    await system.stop()


def tell(kind: type[Count]) -> Callable[[], Coroutine[None, None, int]]:
    """Many messages to one actor."""

    async def work() -> int:
        async with running() as system:
            done = asyncio.Event()
            ref = system.spawn(lambda: kind(done))
            for _ in range(TELLS // BATCH):
                for n in range(BATCH - 1, -1, -1):
                    ref.tell(n)
                await done.wait()
                done.clear()
            return TELLS

    return work


def ask(kind: type[Actor[Question]]) -> Callable[[], Coroutine[None, None, int]]:
    """One question after the other, each with a deadline."""

    async def work() -> int:
        async with running() as system:
            ref = system.spawn(kind)
            for n in range(ASKS):
                answer = await ref.ask(lambda reply, n=n: Question(n, reply), timeout=10.0)  # type: ignore[misc]  # a default argument
                assert answer == n
            return ASKS

    return work


def spawn(kind: type[Actor[int]]) -> Callable[[], Coroutine[None, None, int]]:
    """Actors that handle one message and end."""

    async def work() -> int:
        async with running() as system:
            for _ in range(SPAWNS // SPAWNED):
                refs = [system.spawn(kind, lifecycle=ONCE) for _ in range(SPAWNED)]
                for ref in refs:
                    ref.tell(1)
                for ref in refs:
                    await ref.join()
            return SPAWNS

    return work


def ring(kind: type[Ring]) -> Callable[[], Coroutine[None, None, int]]:
    """One message that goes round."""

    async def work() -> int:
        async with running() as system:
            done = asyncio.Event()
            actors = [kind(done) for _ in range(RING)]
            refs = [system.spawn(lambda actor=actor: actor) for actor in actors]  # type: ignore[misc]  # a default argument
            for actor, following in zip(actors, [*refs[1:], refs[0]], strict=True):
                actor.next = following
            refs[0].tell(HOPS)
            await done.wait()
            return HOPS

    return work


def crash(kind: type[Count]) -> Callable[[], Coroutine[None, None, int]]:
    """Messages each of which crashes the actor, which is then started again."""

    async def work() -> int:
        async with running() as system:
            done = asyncio.Event()
            ref = system.spawn(lambda: kind(done), lifecycle=AT_ONCE)
            for _ in range(CRASHES // BATCH):
                for n in range(BATCH - 1, -1, -1):
                    ref.tell(n)
                await done.wait()
                done.clear()
            return CRASHES

    return work


async def _idle(kind: type[Actor[int]], count: int, used: bool) -> object:
    system = ActorSystem()
    refs = [system.spawn(kind, lifecycle=ONCE) for _ in range(count)]
    if used:
        for ref in refs:
            ref.tell(1)
        while system.run_queue.ready or system.at_work:  # noqa: ASYNC110 - until all are idle
            await asyncio.sleep(0)
    return system, refs


class Idle(Actor[int]):
    """Has nothing to do."""

    async def receive(self, message: int) -> None:
        """Nothing."""


class PlainIdle(Actor[int]):
    """The same as a plain function."""

    def receive(self, message: int) -> None:
        """Nothing."""


async def idle_coroutine(count: int, used: bool) -> object:
    """So many actors that wait."""
    return await _idle(Idle, count, used)


async def idle_plain(count: int, used: bool) -> object:
    """So many actors that wait."""
    return await _idle(PlainIdle, count, used)


COROUTINE: Final = {
    "tell": tell(Count),
    "ask": ask(Answer),
    "spawn": spawn(Once),
    "ring": ring(Ring),
    "crash": crash(Crash),
}
PLAIN: Final = {
    "tell": tell(PlainCount),
    "ask": ask(PlainAnswer),
    "spawn": spawn(PlainOnce),
    "ring": ring(PlainRing),
    "crash": crash(PlainCrash),
}
