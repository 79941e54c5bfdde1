"""Helpers for the tests of the runtime, such as an actor that does what its message says."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, TypeVar

from actors import Actor, ActorRef, ActorSystem, Backoff, Down, Intensity, Lifecycle, Restart
from actors.runtime.spare_task import SpareTask

M = TypeVar("M")

Do: TypeAlias = "Callable[[Worker], Awaitable[None] | None]"

STEADY = Backoff(initial=1.0, factor=2.0, maximum=64.0, jitter=0.0)
"""Pauses of exactly 1, 2, 4, ... seconds."""

TEMPORARY = Lifecycle(restart=Restart.TEMPORARY)
TRANSIENT = Lifecycle(restart=Restart.TRANSIENT, backoff=STEADY)
PERMANENT = Lifecycle(restart=Restart.PERMANENT, backoff=STEADY)
TIRELESS = Lifecycle(backoff=STEADY, intensity=Intensity(restarts=1000, period=1.0))


class Boom(Exception):
    """The exception with which actors of the tests crash."""


class Worker(Actor[Do]):
    """Does what its messages say, and records its hooks in `log`."""

    def __init__(self, log: list[str] | None = None, name: str = "worker") -> None:
        self.log = log if log is not None else []
        self.name = name

    def started(self) -> Awaitable[None] | None:
        self.log.append(f"{self.name} started")
        return None

    def receive(self, message: Do) -> Awaitable[None] | None:
        return message(self)

    def down(self, down: Down) -> Awaitable[None] | None:
        self.log.append(f"{self.name} down {down.name} {down.exit.value}")
        return None

    def child_ended(self, down: Down) -> None:
        self.log.append(f"{self.name} child_ended {down.name} {down.exit.value}")

    def stopped(self) -> Awaitable[None] | None:
        self.log.append(f"{self.name} stopped")
        return None


class Bare(Actor[Do]):
    """Does what its messages say, and overrides no hook."""

    def receive(self, message: Do) -> Awaitable[None] | None:
        return message(self)  # type: ignore[arg-type]  # its messages need no Worker


def note(log: list[str], text: str) -> "Do":
    """Make a message that writes `text` into the log."""
    return lambda worker: log.append(text)


def boom(worker: Worker) -> None:
    """A message that crashes the actor."""
    raise Boom


def wait_for(gate: asyncio.Event) -> "Do":
    """Make a message whose handling ends when the gate opens."""

    async def wait(worker: Worker) -> None:
        await gate.wait()

    return wait


async def for_ever(worker: Worker) -> None:
    """A message whose handling never ends."""
    await asyncio.Event().wait()


def sending(ref: ActorRef[M], *messages: M) -> "asyncio.Task[None]":
    """Start a task that sends these messages in order and waits for room when it must."""

    async def send_all() -> None:
        for message in messages:
            await ref.send(message)

    return asyncio.create_task(send_all())


def tasks_of_actors() -> int:
    """Count the tasks other than the test's own and those that stand by for what will wait."""
    return len(working_tasks()) - 1


def working_tasks() -> "set[asyncio.Task[Any]]":
    """Return all tasks but those that stand by."""
    return {task for task in asyncio.all_tasks() if not _stands_by(task)}


def _stands_by(task: "asyncio.Task[Any]") -> bool:
    frame = getattr(task.get_coro(), "cr_frame", None)
    spare = None if frame is None else frame.f_locals.get("self")
    return isinstance(spare, SpareTask) and spare.ready


def names(system: ActorSystem) -> list[str]:
    """Return the names of the root's children."""
    return [child.name for child in system.snapshot().children]
