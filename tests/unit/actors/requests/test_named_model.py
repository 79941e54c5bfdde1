"""Named actors in random orders, held against a model; and how much memory many keys take."""

import asyncio
import gc
import sys
import tracemalloc
from collections.abc import Callable
from functools import partial
from random import Random

from actors import (
    ActorRef,
    ActorSystem,
    AskCrashed,
    AskDropped,
    Code,
    Failure,
    Intensity,
    Lifecycle,
    Registry,
    Rejected,
    Reply,
    Restart,
)
from actors.testing import ManualClock, interleaved, running_system, settle
from tests.support.kit import STEADY, Bare, Do, Worker
from tests.support.named_kit import MISSING, start

KEYS = "abc"
LIFECYCLE = Lifecycle(
    restart=Restart.TRANSIENT, backoff=STEADY, intensity=Intensity(restarts=2, period=100.0)
)
IDLE = 3.0


class Model:
    """What is known of all keys: which of them run, and what they have handled, by sender."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.running: set[str] = set()
        self.handled: dict[tuple[str, int], list[int]] = {}
        self.most = 0
        self.unknown = KEYS[-1]

    def begin(self, key: str) -> None:
        assert key not in self.running, "two incarnations at once"
        self.running.add(key)
        self.most = max(self.most, len(self.running))

    def handle(self, key: str, sender: int, number: int) -> None:
        assert key in self.running, "no incarnation is ready"
        before = self.handled.setdefault((key, sender), [])
        assert not before or before[-1] < number, "out of order"
        before.append(number)


class Modelled(Worker):
    """Takes turns of the event loop where it can, and crashes when it is told to."""

    def __init__(self, model: Model, key: str) -> None:
        super().__init__([], key)
        self.model = model

    async def started(self) -> None:
        if self.name == self.model.unknown:
            await asyncio.sleep(0)
            raise Rejected(MISSING)
        if self.model.random.random() < 0.2:
            raise OSError("the disk is away")
        self.model.begin(self.name)
        await asyncio.sleep(0)

    async def stopped(self) -> None:
        for _ in range(self.model.random.randrange(4)):
            await asyncio.sleep(0)
        self.model.running.remove(self.name)


async def ask_in_order(
    model: Model, ref: ActorRef[Do], clock: ManualClock, key: str, sender: int
) -> None:
    """Ask six numbered questions, one after the other; check that each has a proper end."""

    def asked(number: int) -> Callable[[Reply[int]], Do]:
        return partial(act, number)

    def act(number: int, reply: Reply[int]) -> Do:
        def answer(worker: Worker) -> None:
            model.handle(key, sender, number)
            what = model.random.randrange(6)
            if what == 0:
                raise OSError("the disk is away")
            if what == 1:
                worker.context.stop()
            reply.send(number)

        return answer

    for number in range(6):
        try:
            assert await ref.ask(asked(number), timeout=10_000.0) == number
        except AskCrashed:
            assert model.handled[key, sender][-1] == number
        except AskDropped:
            pass  # it stopped by itself before this question
        except Failure as failure:
            if failure is MISSING:
                assert key == model.unknown
            else:
                assert failure.retryable
                assert failure.code in (Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED)
        if model.random.random() < 0.5:
            await pause(clock, model.random.choice((IDLE / 2, IDLE, 2 * IDLE)))


async def pause(clock: ManualClock, seconds: float) -> None:
    over = asyncio.Event()
    clock.call_later(seconds, over.set)
    await over.wait()


@interleaved(runs=150)
async def test_passivation_crashes_and_restarts_agree_with_the_model(
    system: ActorSystem, clock: ManualClock
) -> None:
    """One incarnation of a key at a time, in order, and each question ends, in any order."""
    model = Model(system.random)
    registry = Registry()
    registry.named(
        Modelled,
        lambda key: Modelled(model, key),
        at_most=2,
        idle=IDLE,
        lifecycle=LIFECYCLE,
    )
    await start(system, registry)
    senders = [
        ask_in_order(model, registry.actor(Modelled, key), clock, key, sender)
        for key in KEYS
        for sender in range(2)
    ]
    await clock.until(asyncio.gather(*senders))
    await clock.advance(1000.0)
    assert model.running == set()
    assert model.handled
    assert model.most <= 3  # one may be about to stop for another


ALIVE = 1_000


async def visit(registry: Registry, first: int, after: int) -> None:
    """Send a message to each of these keys, no more at once than may be alive."""
    for number in range(first, after):
        registry.actor(Bare, str(number)).tell(lambda worker: None)
        if number % 500 == 0:
            await settle()
    await settle()


async def check_memory(held: Callable[[], int], keys: int) -> None:
    """Check that so many keys hold at most a tenth more than those that are alive."""
    registry = Registry()
    registry.named(Bare, lambda key: Bare(), at_most=ALIVE, idle=1_000_000.0)
    async with running_system(ManualClock()) as system:
        await start(system, registry)
        before = held()
        await visit(registry, 0, ALIVE)
        few = held() - before
        await visit(registry, ALIVE, keys)
        many = held() - before
        directory = system.snapshot().children[0].children[0]
        assert len(directory.children) == ALIVE
        assert directory.tally.started == keys
    assert 0 < many < 1.1 * few, f"{few}, then {many}"


def blocks() -> int:
    """Return how many blocks of memory Python has given out."""
    gc.collect()
    return sys.getallocatedblocks()


def traced() -> int:
    """Return the bytes that tracemalloc knows of."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def test_a_key_without_an_actor_holds_no_memory() -> None:
    """Where actors have made room for others, nothing of them is left, in bytes."""
    tracemalloc.start()
    try:
        await check_memory(traced, 3 * ALIVE)
    finally:
        tracemalloc.stop()


async def test_many_keys_take_no_more_memory_than_those_that_are_alive() -> None:
    """The same with ten times the keys, in blocks of memory, because to trace bytes is slow."""
    await check_memory(blocks, 30 * ALIVE)
