"""The event loop of the service: libuv's where uvloop is installed, else asyncio's own."""

import asyncio
import gc
import sys
from collections.abc import Callable, Coroutine
from importlib.util import find_spec
from typing import Final, Literal, TypeVar

from callboard_service.errors import BadSettings

T = TypeVar("T")

YOUNG: Final = 20_000
"""New objects, more than were freed, after which the youngest are looked through."""

TURN_OF_A_THREAD: Final = 10e-6
"""Seconds after which a thread that waits for the interpreter asks for it. Python's own: 0.005."""

LoopName = Literal["auto", "asyncio", "uvloop"]


def run(
    main: Coroutine[None, None, T],
    loop: LoopName,
    escaped: Callable[[BaseException], None] | None = None,
) -> T:
    """Run `main` to its end on this kind of loop. Raises BadSettings.

    escaped: called with each SystemExit and KeyboardInterrupt that a callback or another task
    raises, and when one stops the loop, after which the loop goes on. Without it that ends the
    loop, as asyncio has it.
    """
    try:
        factory = _factory(loop)
    except BadSettings:
        main.close()
        raise
    with asyncio.Runner(loop_factory=factory) as runner:
        if escaped is None:
            return runner.run(main)
        return _run_on(runner.get_loop(), main, escaped)


def _run_on(
    loop: asyncio.AbstractEventLoop,
    main: Coroutine[None, None, T],
    escaped: Callable[[BaseException], None],
) -> T:
    task = loop.create_task(main)
    while True:
        try:
            return loop.run_until_complete(task)
        except (SystemExit, KeyboardInterrupt) as error:
            if task.done():
                raise
            escaped(error)
        except RuntimeError as error:  # a callback or a handler has stopped the loop
            if task.done():
                raise
            escaped(error)


def share_interpreter() -> None:
    """Have threads beside the event loop's, such as the store's, get their turn while it is busy.

    A thread asks for the interpreter once it has waited for so long without any sign. A busy loop
    lets go of it once a turn, for a moment only, and each time the wait begins anew: with 20
    streams at work what the store was asked took 57 ms (93 at most, now and then a second), with
    this 1.2 (2.0 at most). CPython, Python/ceval_gil.c, `take_gil`. Not tried on Windows, where
    such a wait has whole milliseconds: there a thread asks at once.
    """
    sys.setswitchinterval(TURN_OF_A_THREAD)


def calm_collector() -> None:
    """Have the garbage collector leave alone what lives as long as the service, and come less.

    A request leaves no circle behind, so that counting references frees all of it; what sessions
    hold is many objects that a collection walks over and finds alive.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 100)


def _factory(loop: LoopName) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the loop; None: asyncio's own."""
    if loop == "asyncio":
        return None
    if find_spec("uvloop") is None:
        if loop == "auto":
            return None
        raise BadSettings("loop: uvloop is not installed: pip install 'callboard[fast]'")
    import uvloop

    return uvloop.new_event_loop
