"""Streams that wait for nothing but a turn of the event loop, resumed by one callback a turn.

A task that waits for its next turn costs the loop a handle and a step of the task, some 4,400
instructions (Python 3.13, uvloop), as much as pulling, encoding and sending a token together. Here
such a task waits for a Seat instead, and one callback resumes the coroutines of all that have one,
each as its task would: in its context, as the current task, once a turn. A task has its coroutine
for itself again once that waits for anything else, is cancelled, or has long been the only one.

        ┌── each turn of the loop ──┐
        ▼                           │
    seated ── still seated ─────────┘
        │
        ├── waits for a future ──▶ the seat is done with it, and the task goes on
        ├── leaves, or is alone ─▶ the seat is done, and the task goes on
        └── is cancelled ────────▶ the seat is cancelled, and with it the task's wait

Before Python 3.13 there are no seats: a task there does not forget with `uncancel` that it was to
be cancelled, and on 3.11 nobody can say which task is the current one, or ask one for its context.
"""

import asyncio
import sys
import types
from collections.abc import Callable, Generator
from contextvars import Context
from typing import TYPE_CHECKING, Final, TypeAlias
from weakref import ref

if TYPE_CHECKING:
    AnyTask: TypeAlias = asyncio.Task[object]

Swap: TypeAlias = "Callable[[asyncio.AbstractEventLoop, AnyTask | None], AnyTask | None] | None"

# What asyncio's own eager tasks do: CPython 3.12, Modules/_asynciomodule.c.
_swap: Final[Swap] = getattr(asyncio.tasks, "_swap_current_task", None)

SEATS: Final = sys.version_info >= (3, 13) and _swap is not None
"""There are some. What is used only then says `where SEATS`."""


@types.coroutine
def next_turn() -> Generator[None, None, None]:
    """Wait for the next turn of the event loop: `asyncio.sleep(0)`, without its coroutine."""
    yield


class Seat(asyncio.Future[None]):  # where SEATS
    """What a task waits for while its coroutine is resumed in the round."""

    __slots__ = ("_awaited", "resume", "run", "taken", "task")

    def __init__(self, task: "AnyTask", loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self.task: AnyTask = task
        context: Context = task.get_context()  # type: ignore[attr-defined, unused-ignore]  # where SEATS
        self.run: Callable[[Callable[[None], object], None], object] = context.run
        self.resume: Callable[[None], object] = task.get_coro().send  # type: ignore[union-attr, unused-ignore]  # it has one: it runs
        self.taken: bool = True
        """The coroutine is resumed in the round, and not by the task."""
        self._awaited: asyncio.Future[object] | None = None

    def cancel(self, msg: object = None) -> bool:
        """Cancel what the task waits for: it asks for this when it is to be cancelled itself."""
        if self._awaited is not None:
            return self._awaited.cancel(msg)
        if not self.taken:
            return super().cancel(msg)
        if getattr(self.task.get_coro(), "cr_running", False):
            self.resume = _give_up  # from within: the task notes it, and has the next turn itself
            return False
        self.vacate()
        return super().cancel(msg)

    def give_back(self, waited: object) -> None:
        """Let the task go on when what its coroutine has yielded instead of a turn is done."""
        if not self.taken:  # cancelled meanwhile: the task goes on by that
            return
        self.vacate()
        if waited is GIVEN_UP:
            self.set_result(None)
            return
        # As a task does it.
        if (
            not asyncio.isfuture(waited)
            or not waited._asyncio_future_blocking
            or waited is self.task
            or waited.get_loop() is not self.get_loop()
        ):
            self.set_exception(RuntimeError(f"a stream cannot wait for {waited!r}"))
            return
        waited._asyncio_future_blocking = False
        self._awaited = waited
        waited.add_done_callback(self._arrived)
        if self.task._must_cancel:  # type: ignore[attr-defined]  # of both implementations of asyncio.Task
            self._pass_cancel_on()

    def _pass_cancel_on(self) -> None:
        """The task was cancelled from within, before this wait: it is for what is waited for.

        The task forgets what it has noted with the last `uncancel`, and `cancel` comes here.
        """
        requests, message = self.task.cancelling(), self.task._cancel_message  # type: ignore[attr-defined]  # as above
        for _ in range(requests):
            self.task.uncancel()
        for _ in range(requests):
            self.task.cancel(message)

    def vacate(self) -> None:
        """Have it, and not wait for it: where nobody would go on with the coroutine."""
        self.taken = False
        self.resume = _give_up

    def _arrived(self, waited: "asyncio.Future[object]") -> None:
        self._awaited = None
        if isinstance(waited, Seat) and waited.cancelled():  # one stream runs within another
            super().cancel()
        else:
            self.set_result(None)

    @types.coroutine
    def leave(self) -> Generator[object, None, None]:
        """Have the task go on by itself. To be called by the coroutine that has taken the seat."""
        if not self.taken:
            return
        try:
            yield GIVEN_UP
        except asyncio.CancelledError as error:
            # For the next wait, or for the end, as if there had been none here.
            self.task.uncancel()
            self.task.cancel(*error.args)

    def close(self) -> None:
        """The coroutine has been given a GeneratorExit; by others than itself, nobody goes on."""
        if asyncio.current_task(self.get_loop()) is not self.task:
            self.vacate()


GIVEN_UP: Final = object()
"""Yielded by who wants its seat no longer."""


def _give_up(_: None) -> object:  # where SEATS
    return GIVEN_UP


ALONE: Final = 512
"""Turns that one waits for company which has been seen, until it has its task for itself again.

Within so many another stream of one answer a turn asks for its turn too:
`actors.requests.pull.AT_ONCE`.
"""


class Rounds:
    """The seats of one event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._seats: list[Seat] = []
        self._new: list[Seat] = []
        self._context = Context()
        self._going = False
        self._turns_alone = 0
        self._last: ref[AnyTask] | None = None

    async def turn(self) -> Seat | None:
        """Wait for the next turn, from which on the task may have a seat: None, if it has none.

        Who has one must `leave` before its coroutine returns or raises.
        """
        if SEATS:
            task = asyncio.current_task()
            if task is not None and not self._is_alone(task):
                seat = Seat(task, self._loop)
                self._new.append(seat)
                self._go_on()
                await _sit(seat)
                return seat
        await next_turn()
        return None

    def _is_alone(self, task: "AnyTask") -> bool:  # where SEATS
        """No other asks for turns, as far as is seen: then a task of its own costs less."""
        last = None if self._last is None else self._last()
        self._last = ref(task)
        return not self._going and (last is None or last is task or last.done())

    def _go_on(self) -> None:  # where SEATS
        if not self._going:
            self._going = True
            # In no stream's context, which would live as long as there is anyone.
            self._loop.call_soon(self._go, context=self._context)

    def _go(self) -> None:  # where SEATS
        """Give each its turn."""
        loop, swap, seats = self._loop, _swap, self._seats
        assert swap is not None
        self._turns_alone = self._turns_alone + 1 if len(seats) == 1 else 0
        if self._turns_alone > ALONE:
            seats[0].give_back(GIVEN_UP)
        changed = False
        try:
            for seat in seats:
                swap(loop, seat.task)
                waited = seat.run(seat.resume, None)
                if waited is not None:
                    seat.give_back(waited)
                    changed = True
        except BaseException:
            # A signal's, between two of them: nobody is forgotten.
            for seat in seats:
                seat.give_back(GIVEN_UP)
            changed = True
            raise
        finally:
            swap(loop, None)
            if changed or self._new:
                # From the next turn on: what the new have begun before has its turn before them.
                self._seats = [seat for seat in [*seats, *self._new] if seat.taken]
                self._new.clear()
            self._going = False
            if self._seats:
                self._go_on()


@types.coroutine  # where SEATS
def _sit(seat: Seat) -> Generator[Seat, None, None]:
    """Wait for it once, whatever resumes the coroutine then; a future's own wait goes on."""
    seat._asyncio_future_blocking = True
    try:
        yield seat
    except GeneratorExit:
        seat.vacate()
        raise
