"""A message has the same effect whichever way it reaches its actor.

`tell`, `tell_now`, `send` and `ask` each have a fast path, and an actor handles its messages in one
of four loops (a turn with one message, a turn at once, a turn through a queue, a task). Parts of
them are inlined copies; these tests check that all copies behave the same.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st

from actors import ActorRef, ActorSystem, Backoff, Intensity, Lifecycle
from actors.errors import ActorError
from actors.testing import ManualClock, running_system, settle
from tests.support.kit import Bare, Boom, Do, Worker

AT_ONCE = Lifecycle(
    backoff=Backoff(initial=0.0), intensity=Intensity(restarts=1000, period=1.0), capacity=64
)
Way: TypeAlias = Callable[[ActorRef[Do], list[Do]], Coroutine[object, object, None]]


class Coroutines(Worker):
    """Handles everything in a coroutine function."""

    async def receive(self, message: Do) -> None:
        done = message(self)
        if done is not None:
            await done


class Hookless(Bare):
    """Has no hooks, so that it stops and restarts without a task."""

    def __init__(self, log: list[str]) -> None:
        self.log = log


def make(kind: str, number: int) -> Do:
    def do(worker: Worker) -> Awaitable[None] | None:
        worker.log.append(f"{kind} {number}")
        if kind == "crash":
            raise Boom
        if kind == "stop":
            worker.context.ref.stop()
        elif kind == "finish":
            worker.context.stop()
        elif kind.startswith("wait"):
            return wait(worker)
        return None

    async def wait(worker: Worker) -> None:
        await asyncio.sleep(0)
        worker.log.append(f"waited {number}")
        if kind == "wait and crash":
            raise Boom

    return do


async def tell_each(ref: ActorRef[Do], messages: list[Do]) -> None:
    for message in messages:
        ref.tell(message)
        await settle()


async def tell_each_now(ref: ActorRef[Do], messages: list[Do]) -> None:
    for message in messages:
        ref.tell_now(message)
        await settle()


async def send_each(ref: ActorRef[Do], messages: list[Do]) -> None:
    for message in messages:
        with suppress(ActorError):
            await ref.send(message)
        await settle()


async def ask_each(ref: ActorRef[Do], messages: list[Do]) -> None:
    for message in messages:
        question = asyncio.create_task(ref.ask(lambda reply, do=message: do, timeout=1.0))  # type: ignore[misc]  # nobody replies
        await settle()
        question.cancel()
        await asyncio.gather(question, return_exceptions=True)


async def tell_all(ref: ActorRef[Do], messages: list[Do]) -> None:
    for message in messages:
        ref.tell(message)
    await settle()


async def tell_all_now(ref: ActorRef[Do], messages: list[Do]) -> None:
    for message in messages:
        ref.tell_now(message)
    await settle()


async def tell_all_behind_one_that_waits(ref: ActorRef[Do], messages: list[Do]) -> None:
    gate = asyncio.Event()

    async def wait(worker: Worker) -> None:
        await gate.wait()

    ref.tell(wait)
    await settle()
    await tell_all(ref, messages)
    gate.set()
    await settle()


WAYS: tuple[Way, ...] = (
    tell_each, tell_each_now, send_each, ask_each, tell_all, tell_all_now,
    tell_all_behind_one_that_waits,
)  # fmt: skip
KINDS = ("note", "note", "note", "crash", "wait", "wait and crash", "finish", "stop")


async def run(way: Way, kind: type[Worker | Hookless], names: list[str]) -> list[object]:
    """Send the messages this way; return the actor's log, state, restarts and queue length."""
    log: list[str] = []
    async with running_system(clock=ManualClock()) as system:
        ref = spawn(system, kind, log)
        await settle()
        await way(ref, [make(name, number) for number, name in enumerate(names)])
        found = system.snapshot()
        return [
            log, ref.state, [child.restarts for child in found.children], len(ref._cell.mailbox)
        ]  # fmt: skip


def spawn(system: ActorSystem, kind: type[Worker | Hookless], log: list[str]) -> ActorRef[Do]:
    return system.spawn(lambda: kind(log), lifecycle=AT_ONCE)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([Worker, Hookless, Coroutines]),
    st.lists(st.sampled_from(KINDS), min_size=1, max_size=12),
)
def test_each_way_has_the_same_effect(kind: type[Worker | Hookless], names: list[str]) -> None:
    first, *others = [asyncio.run(run(way, kind, names)) for way in WAYS]
    for way, other in zip(WAYS[1:], others, strict=True):
        assert other == first, way.__name__
