"""The scheduler finds failures of some orders of events; the runtime works in any order."""

import asyncio
from random import Random
from typing import TYPE_CHECKING

import pytest

from actors import ActorRef, ActorSystem, AskCrashed, Exit, Lifecycle, NotRunning, Overflow, Reply
from actors.testing import ManualClock, interleaved
from actors.testing.interleavings import SEED, ShuffledLoop, run_with_seed
from tests.support.kit import STEADY, TEMPORARY, TIRELESS, Bare, Do, Worker, boom, note

if TYPE_CHECKING:
    from collections.abc import Callable


async def lost_update(system: ActorSystem, clock: ManualClock) -> None:
    """Two tasks that read, wait and write: right only if one is done before the other begins."""
    value = 0

    async def increment() -> None:
        nonlocal value
        read = value
        await asyncio.sleep(0)
        value = read + 1

    await asyncio.gather(increment(), increment())
    assert value == 2


def test_the_seed_of_a_failure_is_told_and_fails_again(monkeypatch: pytest.MonkeyPatch) -> None:
    run = interleaved(runs=50)(lost_update)
    with pytest.raises(AssertionError) as failed:
        run()
    note = failed.value.__notes__[0]
    assert note.startswith(f"in the order of {SEED}=")
    monkeypatch.setenv(SEED, note.rpartition("=")[2])
    with pytest.raises(AssertionError) as again:
        run()
    assert again.value.__notes__[0] == note


def orders(seeds: range) -> list[tuple[str, ...]]:
    """Return, per seed, the order in which three actors handle one message each."""
    found: list[tuple[str, ...]] = []

    async def test(system: ActorSystem, clock: ManualClock) -> None:
        log: list[str] = []
        for name in "abc":
            system.spawn(Bare).tell(note(log, name))
        await clock.settle()
        found.append(tuple(log))

    for seed in seeds:
        run_with_seed(test, seed)
    return found


def test_a_seed_is_an_order_and_seeds_are_all_orders() -> None:
    assert orders(range(40)) == orders(range(40))
    assert len(set(orders(range(40)))) == 6


def test_a_loop_with_nothing_ready_waits() -> None:
    async def work() -> float:
        await asyncio.sleep(0.001)
        return asyncio.get_running_loop().time()

    loop = ShuffledLoop(Random(0))
    before = loop.time()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        assert runner.run(work()) > before


def test_an_interleaved_test_runs_once_per_seed_and_keeps_its_name() -> None:
    calls: list[int] = []

    @interleaved(runs=3)
    async def test(system: ActorSystem, clock: ManualClock) -> None:
        calls.append(1)

    run: Callable[[], None] = test
    run()
    assert calls == [1, 1, 1]
    assert test.__name__ == "test"


# -- the runtime, in any order -------------------------------------------------------------------


@interleaved(runs=100)
async def test_one_senders_messages_are_handled_in_order_in_any_order(
    system: ActorSystem, clock: ManualClock
) -> None:
    log: list[str] = []
    ref = system.spawn(Bare, lifecycle=Lifecycle(capacity=2))

    async def wait(worker: Worker) -> None:
        await asyncio.sleep(0)

    async def send(sender: int) -> None:
        for index in range(8):
            await ref.send(note(log, f"{sender}.{index}"))
            if index % 3 == sender:
                await ref.send(wait)

    await clock.until(asyncio.gather(*(send(sender) for sender in range(3))))
    await clock.settle()
    for sender in range(3):
        mine = [line for line in log if line.startswith(f"{sender}.")]
        assert mine == [f"{sender}.{index}" for index in range(8)]


@interleaved(runs=100)
async def test_every_ask_ends_in_any_order(system: ActorSystem, clock: ManualClock) -> None:
    """Each ask ends with its answer or with AskCrashed, and none times out."""
    ref = system.spawn(Bare, lifecycle=TIRELESS)

    def answer(reply: Reply[int]) -> Do:
        return lambda worker: reply.send(1)

    def crash(reply: Reply[int]) -> Do:
        return boom

    questions = [
        asyncio.create_task(ref.ask(crash if index % 3 == 0 else answer, timeout=10_000.0))
        for index in range(6)
    ]
    answers = await clock.until(asyncio.gather(*questions, return_exceptions=True))
    kinds = [type(answer) for answer in answers]
    assert kinds == [AskCrashed, int, int, AskCrashed, int, int]


@interleaved(runs=100)
async def test_a_stop_loses_no_message_and_no_sender_in_any_order(
    system: ActorSystem, clock: ManualClock
) -> None:
    handled: list[str] = []
    refused = 0
    ref = system.spawn(Bare, lifecycle=Lifecycle(capacity=1, overflow=Overflow.WAIT))

    async def send(index: int) -> None:
        nonlocal refused
        try:
            await ref.send(note(handled, str(index)))
        except NotRunning:
            refused += 1

    async def stop() -> None:
        ref.stop()

    await clock.until(asyncio.gather(*map(send, range(5)), stop(), *map(send, range(5, 10))))
    await ref.join()
    assert len(handled) + refused + system.dead_letters == 10


@interleaved(runs=100)
async def test_a_watcher_hears_of_every_end_once_in_any_order(
    system: ActorSystem, clock: ManualClock
) -> None:
    watcher = Worker()
    await system.start(lambda: watcher)
    refs = [system.spawn(Bare, name=f"w{index}", lifecycle=TEMPORARY) for index in range(4)]
    for ref in refs:
        watcher.context.watch(ref)
    refs[0].tell(boom)
    refs[1].tell(lambda worker: refs[1].stop())
    refs[2].tell(lambda worker: refs[3].kill())
    refs[2].stop()
    await clock.advance(100.0)
    downs = [line for line in watcher.log if "down" in line]
    assert len(downs) == len(set(downs)) == (4 if not refs[3].alive else 3)


@interleaved(runs=60)
async def test_a_group_is_whole_again_in_any_order(system: ActorSystem, clock: ManualClock) -> None:
    from tests.unit.actors.runtime.test_group_restart import CHILDREN, Group, Team

    steady = Lifecycle(backoff=STEADY)
    team = Team(system, Group, dict.fromkeys(CHILDREN, steady))
    await clock.settle()
    team["b"].tell(boom)
    team["d"].tell(boom)
    await clock.advance(30.0)
    children = system.snapshot().children[0].children
    assert [(child.name, child.state) for child in children] == [
        (name, "running") for name in CHILDREN
    ]
    assert team.log[-4:] == [f"{name} started" for name in CHILDREN]


@interleaved(runs=60)
async def test_the_whole_ends_in_any_order(system: ActorSystem, clock: ManualClock) -> None:
    refs: list[ActorRef[Do]] = []

    class Nest(Worker):
        def __init__(self, depth: int) -> None:
            super().__init__()
            self.depth = depth

        async def started(self) -> None:
            refs.append(self.context.ref)
            for _ in range(self.depth):
                depth = self.depth - 1
                await self.context.start(lambda: Nest(depth), lifecycle=TEMPORARY)  # noqa: B023

    ref = system.spawn(lambda: Nest(3), lifecycle=TEMPORARY)
    for _ in range(3):
        await asyncio.sleep(0)
    ref.stop()
    down = await clock.until(ref.join())
    assert down.exit in (Exit.SHUTDOWN, Exit.CRASHED)  # stopped while it starts its children
    assert not [ref for ref in refs if ref.alive]
