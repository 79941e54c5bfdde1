"""This project's runtime, with coroutine functions and plain functions as handlers."""

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
    """The exception with which the actor crashes."""


@dataclass(slots=True)
class Question:
    """Asks for the number to be sent back."""

    number: int
    reply: Reply[int]


class Count(Actor[int]):
    """Sets `done` at 0."""

    def __init__(self, done: asyncio.Event) -> None:
        self.done = done

    async def receive(self, message: int) -> None:
        """Set `done` at 0."""
        if message == 0:
            self.done.set()


class PlainCount(Count):
    """The same with a plain function."""

    def receive(self, message: int) -> None:  # type: ignore[override]  # either is allowed
        """Set `done` at 0."""
        if message == 0:
            self.done.set()


class Answer(Actor[Question]):
    """Answers questions."""

    async def receive(self, message: Question) -> None:
        """Send the number back."""
        message.reply.send(message.number)


class PlainAnswer(Actor[Question]):
    """The same with a plain function."""

    def receive(self, message: Question) -> None:
        """Send the number back."""
        message.reply.send(message.number)


class Once(Actor[int]):
    """Ends after one message."""

    async def receive(self, message: int) -> None:
        """Stop this actor."""
        self.context.stop()


class PlainOnce(Actor[int]):
    """The same with a plain function."""

    def receive(self, message: int) -> None:
        """Stop this actor."""
        self.context.stop()


class Ring(Count):
    """Passes messages on."""

    next: ActorRef[int]

    async def receive(self, message: int) -> None:
        """Pass the number on, one less, or set `done` at 0."""
        if message:
            self.next.tell(message - 1)
        else:
            self.done.set()


class PlainRing(Ring):
    """The same with a plain function."""

    def receive(self, message: int) -> None:  # type: ignore[override]  # either is allowed
        """Pass the number on, one less, or set `done` at 0."""
        if message:
            self.next.tell(message - 1)
        else:
            self.done.set()


class Crash(Count):
    """Crashes on every message except 0."""

    async def receive(self, message: int) -> None:
        """Crash, or set `done` at 0."""
        if message:
            raise Boom
        self.done.set()


class PlainCrash(Count):
    """The same with a plain function."""

    def receive(self, message: int) -> None:  # type: ignore[override]  # either is allowed
        """Crash, or set `done` at 0."""
        if message:
            raise Boom
        self.done.set()


class Top(Actor[Never]):
    """A supervisor that allows any number of restarts."""

    supervision = Supervision(intensity=Intensity(restarts=10**9, period=1.0))

    def receive(self, message: Never) -> None:
        """Do nothing: this actor gets no messages."""


@asynccontextmanager
async def running() -> AsyncIterator[ActorSystem]:
    """Run a system and stop it at the end."""
    system = ActorSystem()
    yield system
    await system.stop()


def tell(kind: type[Count]) -> Callable[[], Coroutine[None, None, int]]:
    """Return the workload of many messages to one actor."""

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
    """Return the workload of one question after another, each with a deadline."""

    async def work() -> int:
        async with running() as system:
            ref = system.spawn(kind)
            for n in range(ASKS):
                answer = await ref.ask(lambda reply, n=n: Question(n, reply), timeout=10.0)  # type: ignore[misc]  # a default argument
                assert answer == n
            return ASKS

    return work


def spawn(kind: type[Actor[int]]) -> Callable[[], Coroutine[None, None, int]]:
    """Return the workload of actors that handle one message and end."""

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
    """Return the workload of one message that goes round a ring of actors."""

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
    """Return the workload of messages that crash the actor, which restarts after each."""

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
    """Does nothing."""

    async def receive(self, message: int) -> None:
        """Do nothing."""


class PlainIdle(Actor[int]):
    """The same with a plain function."""

    def receive(self, message: int) -> None:
        """Do nothing."""


async def idle_coroutine(count: int, used: bool) -> object:
    """Create `count` waiting actors."""
    return await _idle(Idle, count, used)


async def idle_plain(count: int, used: bool) -> object:
    """Create `count` waiting actors."""
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
