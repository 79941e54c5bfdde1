"""Tasks that begin at once (`eager_start` of asyncio.Task, Python 3.12).

An optimization: `EAGER` is its switch, docs/adr/0028 and 0030 its reasons.
"""

import asyncio
import sys
from collections.abc import Coroutine
from typing import Final

EAGER: Final = sys.version_info >= (3, 12)
"""A task can begin at once and, if it need not wait, end at once: a third of the cost of one that
waits for its turn of the event loop. What is used only then says `where EAGER`."""


def begin(work: Coroutine[object, object, None]) -> "asyncio.Task[None]":
    """A task that has taken its first step already, where that can be.

    Made here and not by the loop's task factory, which uvloop on Python 3.13.0 refuses.
    """
    loop = asyncio.get_running_loop()
    if not EAGER:
        return loop.create_task(work)
    # Checked as for 3.11, whose stubs do not have it; from 3.12 on there is nothing to ignore.
    return asyncio.Task(work, loop=loop, eager_start=True)  # type: ignore[call-arg, unused-ignore]  # where EAGER, which 3.11's stubs do not know
