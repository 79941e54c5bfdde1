"""Runs and tunes the service's event loop: uvloop where it is installed, else asyncio's own."""

import asyncio
import gc
import sys
from collections.abc import Callable, Coroutine
from importlib.util import find_spec
from typing import Final, Literal, TypeVar

from callboard_service.errors import BadSettings

T = TypeVar("T")

YOUNG: Final = 20_000
"""Net allocations of container objects that trigger a collection of the youngest generation."""

TURN_OF_A_THREAD: Final = 10e-6
"""Seconds after which a waiting thread requests the interpreter lock. Python's default: 0.005."""

LoopName = Literal["auto", "asyncio", "uvloop"]


def run(
    main: Coroutine[None, None, T],
    loop: LoopName,
    escaped: Callable[[BaseException], None] | None = None,
) -> T:
    """Run `main` to its end on this kind of loop and return its result.

    escaped: called with each SystemExit or KeyboardInterrupt that a callback or another task
    raises, and with a RuntimeError if one stops the loop; then the loop goes on. Without it these
    end the loop, as in asyncio. Raises BadSettings if the loop is not installed.
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
        except RuntimeError as error:  # a callback or a task has stopped the loop
            if task.done():
                raise
            escaped(error)


def share_interpreter() -> None:
    """Shorten the switch interval, so that other threads get to run while the event loop is busy.

    A thread requests the interpreter lock only after waiting a whole interval during which nobody
    released it. A busy loop releases it once per iteration, for a moment, and each release restarts
    the interval. With 20 running streams a call to the store took 57 ms (at most 93, now and then a
    second); with this setting it takes 1.2 ms (at most 2.0). See `take_gil` in CPython's
    Python/ceval_gil.c. Not tested on Windows, where such a wait is in whole milliseconds, so a
    thread requests the lock at once.
    """
    sys.setswitchinterval(TURN_OF_A_THREAD)


def calm_collector() -> None:
    """Exempt long-lived objects from garbage collection, and collect less often.

    A request leaves no reference cycles, so reference counting frees all of it. Sessions hold many
    objects, which a collection would traverse only to find them alive.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 100)


def _factory(loop: LoopName) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return the loop factory; None: asyncio's own. Raises BadSettings."""
    if loop == "asyncio":
        return None
    if find_spec("uvloop") is None:
        if loop == "auto":
            return None
        raise BadSettings("loop: uvloop is not installed: pip install 'callboard[fast]'")
    import uvloop

    return uvloop.new_event_loop
