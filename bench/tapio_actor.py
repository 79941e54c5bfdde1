"""tapio (PyPI `tapio-py`), with its validation of messages turned off."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from tapio import (
    ActorContext,
    ActorRef,
    ActorSystem,
    Behavior,
    Behaviors,
    Message,
    SupervisorStrategy,
)
from tapio.settings import TapioSettings

from bench.sizes import ASKS, BATCH, CRASHES, HOPS, RING, SPAWNED, SPAWNS, TELLS


class Boom(Exception):
    """The exception with which the actor crashes."""


class Number(Message):
    """A message, and also an answer."""

    number: int


SAME: Final[Behavior[Number]] = Behaviors.same()
"""Created once: each call subscripts a generic type, which is two fifths of a message's cost."""


class Question(Message):
    """Asks for the number to be sent back."""

    number: int
    reply_to: ActorRef[Number]


@asynccontextmanager
async def running() -> AsyncIterator[ActorSystem]:
    """Run a system and stop it at the end. Its log of each crash is disabled."""
    logging.disable(logging.CRITICAL)
    async with ActorSystem("bench", TapioSettings(validate_on_tell=False)) as system:
        yield system


def counting(done: asyncio.Event) -> Behavior[Number]:
    """Return a behavior that sets `done` at 0."""

    async def receive(message: Number) -> Behavior[Number]:
        if not message.number:
            done.set()
        return SAME

    return Behaviors.receive_message(receive)


async def tell() -> int:
    """Send many messages to one actor."""
    messages = [Number(number=n) for n in range(BATCH)]
    messages.reverse()
    async with running() as system:
        done = asyncio.Event()
        ref = system.spawn(counting(done), name="count")
        for _ in range(TELLS // BATCH):
            for message in messages:
                ref.tell(message)
            await done.wait()
            done.clear()
    return TELLS


async def ask() -> int:
    """Ask one question after another, each with a deadline."""
    same: Behavior[Question] = Behaviors.same()

    async def receive(message: Question) -> Behavior[Question]:
        message.reply_to.tell(Number(number=message.number))
        return same

    async with running() as system:
        ref = system.spawn(Behaviors.receive_message(receive), name="answer")
        for _ in range(ASKS):
            await ref.ask(
                lambda back: Question(number=1, reply_to=back),
                expect=Number,
                timeout=timedelta(seconds=10),
            )
    return ASKS


async def spawn() -> int:
    """Create actors that handle one message and end."""
    left = 0
    done = asyncio.Event()

    async def receive(message: Number) -> Behavior[Number]:
        nonlocal left
        left -= 1
        if not left:
            done.set()
        return Behaviors.stopped()

    one = Number(number=1)
    async with running() as system:
        for _ in range(SPAWNS // SPAWNED):
            left = SPAWNED
            done.clear()
            refs = [
                system.spawn_anonymous(Behaviors.receive_message(receive)) for _ in range(SPAWNED)
            ]
            for ref in refs:
                ref.tell(one)
            await done.wait()
    return SPAWNS


async def ring() -> int:
    """Send one message round a ring of actors."""
    done = asyncio.Event()
    refs: list[ActorRef[Number]] = []

    def member(place: int) -> Behavior[Number]:
        async def receive(message: Number) -> Behavior[Number]:
            if message.number:
                refs[(place + 1) % RING].tell(Number(number=message.number - 1))
            else:
                done.set()
            return SAME

        return Behaviors.receive_message(receive)

    async with running() as system:
        refs.extend(system.spawn(member(place), name=f"r{place}") for place in range(RING))
        refs[0].tell(Number(number=HOPS))
        await done.wait()
    return HOPS


async def crash() -> int:
    """Send messages that crash the actor, which restarts after each."""
    done = asyncio.Event()

    async def receive(message: Number) -> Behavior[Number]:
        if message.number:
            raise Boom
        done.set()
        return SAME

    messages = [Number(number=n) for n in range(BATCH)]
    messages.reverse()
    async with running() as system:
        behavior = Behaviors.supervise(Behaviors.receive_message(receive))
        ref = system.spawn(behavior.on_failure(SupervisorStrategy.restart(), on=Boom), name="crash")
        for _ in range(CRASHES // BATCH):
            for message in messages:
                ref.tell(message)
            await done.wait()
            done.clear()
    return CRASHES


async def idle(count: int, used: bool) -> object:
    """Create `count` waiting actors."""

    async def receive(context: ActorContext[Number], message: Number) -> Behavior[Number]:
        return SAME

    system = ActorSystem("bench", TapioSettings(validate_on_tell=False))
    behavior = Behaviors.receive(receive)
    refs = [system.spawn_anonymous(behavior) for _ in range(count)]
    if used:
        one = Number(number=1)
        for ref in refs:
            ref.tell(one)
    await asyncio.sleep(0.1)
    return system, refs


COLUMNS: Final[dict[str, Callable[[], Coroutine[None, None, int]]]] = {
    "tell": tell,
    "ask": ask,
    "spawn": spawn,
    "ring": ring,
    "crash": crash,
}
