"""The event loop of the service: libuv's where uvloop is installed, else asyncio's own."""

import asyncio
from collections.abc import Callable, Coroutine
from importlib.util import find_spec
from typing import Literal, TypeVar

from callboard_service.errors import BadSettings

T = TypeVar("T")

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
