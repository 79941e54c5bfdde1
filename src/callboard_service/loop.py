"""The event loop of the service: libuv's where uvloop is installed, else asyncio's own."""

import asyncio
import gc
from collections.abc import Callable, Coroutine
from importlib.util import find_spec
from typing import Final, Literal, TypeVar

from callboard_service.errors import BadSettings

T = TypeVar("T")

YOUNG: Final = 20_000
"""New objects, more than were freed, after which the youngest are looked through."""

LoopName = Literal["auto", "asyncio", "uvloop"]


def run(main: Coroutine[None, None, T], loop: LoopName) -> T:
    """Run `main` to its end on this kind of loop. Raises BadSettings."""
    try:
        factory = _factory(loop)
    except BadSettings:
        main.close()
        raise
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


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
