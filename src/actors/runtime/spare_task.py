"""A task in whose name coroutines take their first step, and which becomes theirs if they wait.

Where tasks do not begin at once (Python 3.11), a task for each request is half of what the request
costs, and most handlers never wait. So a coroutine takes its first step as a plain call, while a
spare task is the current one and its context is entered. If it waits, the task is its own from then
on, and awaits the rest of it. If it ends, the task serves the next one, unless anything was left
with the task: a reference, a callback or a context variable. ADR 65 has the reasons.

A task is entered and left as documented for implementations of tasks:
https://docs.python.org/3/library/asyncio-extending.html#task-lifetime-support
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from sys import getrefcount
from types import coroutine
from typing import Final, TypeVar, cast
from weakref import getweakrefcount

from actors.runtime.eager import EAGER

R = TypeVar("R")
A = TypeVar("A")

STEPPED: Final = not EAGER
"""Whether spare tasks are used. Where tasks begin at once, one for each coroutine costs less."""


class SpareTask:
    """A task that waits for a coroutine that has taken its first step.

    base: the context variables that it began with. ready: it serves none now. used: it serves none
    any more. begun: the coroutine that it serves. wake: what it waits for.
    """

    __slots__ = (
        "_context", "_counts", "_job", "_loop", "_name", "base", "begun", "ready", "task",
        "used", "wake",
    )  # fmt: skip

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.base: Context = copy_context()
        self._context = self.base.copy()
        self._counts = (0, 0)
        self._job: Coroutine[object, object, None] | None = None
        self.wake: asyncio.Future[None] = self._loop.create_future()
        self.begun: Coroutine[object, object, object] | None = None
        self.ready: bool = False
        self.used: bool = False
        self.task: asyncio.Task[None] = self._loop.create_task(
            self._stand_by(), context=self._context
        )
        self._name = self.task.get_name()

    def step(
        self, function: Callable[[A], Coroutine[object, object, object]], argument: A
    ) -> object:
        """Call a coroutine function and take its first step.

        Returns its result, or what it waits for if `begun` is set then. Raises what it raises.
        """
        loop, task = self._loop, self.task
        self.ready = False
        interrupted = asyncio.current_task(loop)
        if interrupted is not None:
            asyncio._leave_task(loop, interrupted)  # noqa: SLF001 - see above
        asyncio._enter_task(loop, task)  # noqa: SLF001
        try:
            begun = function(argument)
            waits_for: object = self._context.run(begun.send, None)
        except StopIteration as end:
            return end.value
        finally:
            asyncio._leave_task(loop, task)  # noqa: SLF001
            if interrupted is not None:
                asyncio._enter_task(loop, interrupted)  # noqa: SLF001
        self.begun = begun
        return waits_for

    def take_back(self) -> None:
        """Be ready for another coroutine if the last one has left nothing with the task."""
        task = self.task
        self.ready = (
            (getrefcount(task), getweakrefcount(task)) == self._counts
            and not self.wake.done()
            and not task._callbacks  # noqa: SLF001 - to see, not to change
            and task.get_name() == self._name
            and _same(self._context, self.base)
        )
        if not self.ready:
            self.end()

    def hand_over(self, job: Coroutine[object, object, None]) -> None:
        """Give the task to what is left to do of a coroutine that has taken its first step."""
        self._job, self.begun = job, None
        self.end()

    def end(self) -> None:
        """Serve no further coroutine."""
        self.ready, self.used = False, True
        if not self.wake.done():
            self.wake.set_result(None)

    async def _stand_by(self) -> None:
        self._loop.call_soon(self._await_first)
        try:
            await self.wake
        except asyncio.CancelledError as error:
            if self._job is None:
                self.end()
                raise
            # Not this wait was to be cancelled, but that of the job: it is, where it waits.
            self.task.cancel(*error.args)
            self.task.uncancel()  # it was counted when it came
        job, self._job = self._job, None
        if job is not None:
            await job

    def _await_first(self) -> None:
        task = self.task
        self._counts = getrefcount(task), getweakrefcount(task)
        self.ready = not self.used


def _same(one: Context, other: Context) -> bool:
    """Return whether two contexts hold the same objects; `==` would ask the objects."""
    if len(one) != len(other):
        return False
    for variable in one:
        if variable not in other or one[variable] is not other[variable]:
            return False
    return True


class SpareTasks:
    """The spare task of an actor system: one at a time."""

    __slots__ = ("_spare",)

    def __init__(self) -> None:
        self._spare: SpareTask | None = None

    def take(self) -> SpareTask | None:
        """Return the spare task for a first step; None: it is not to be had now."""
        spare = self._spare
        if spare is not None and spare.ready:
            # A task made now would have the same variables. Awake: it was cancelled from outside.
            if not spare.wake.done() and _same(spare.base, copy_context()):
                return spare
            spare.end()
        elif spare is None or spare.used or spare.task.done():
            self._spare = SpareTask()  # ready in two turns of the loop
        return None

    async def close(self) -> None:
        """End the spare task, unless a coroutine has it."""
        spare, self._spare = self._spare, None
        if spare is not None and not spare.used:
            spare.end()
            await asyncio.wait({spare.task})


@coroutine
def rest_of(begun: Coroutine[object, object, R], waits_for: object) -> Generator[object, object, R]:
    """Await a coroutine that has taken its first step and waits for this; return its result."""
    while True:
        try:
            yield waits_for
        except BaseException as error:  # noqa: BLE001 - it belongs to the coroutine
            raised = error
        else:
            return (yield from cast("Generator[object, object, R]", begun))
        try:
            waits_for = begun.throw(raised)
        except StopIteration as end:
            result: R = end.value
            return result
        finally:
            del raised
