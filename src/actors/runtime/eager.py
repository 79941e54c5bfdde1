"""Eager tasks, which begin at once (`eager_start` of asyncio.Task, Python 3.12).

This is an optimization, switched by `EAGER`; docs/adr/0028 and 0030 have the reasons.
"""

import asyncio
import sys
from collections.abc import Coroutine
from typing import Final

EAGER: Final = sys.version_info >= (3, 12)
"""Whether a task can begin at once and, if it need not wait, end at once. That costs a third of a
task that waits for its turn of the event loop. Code used only then is marked `where EAGER`."""


def begin(work: Coroutine[object, object, None]) -> "asyncio.Task[None]":
    """Return a new task for `work`, which has already taken its first step if `EAGER`.

    The loop's task factory is not used, because uvloop rejects it on Python 3.13.0.
    """
    loop = asyncio.get_running_loop()
    if not EAGER:
        return loop.create_task(work)
    # mypy checks this for 3.11, whose stubs lack it; from 3.12 on there is nothing to ignore.
    return asyncio.Task(work, loop=loop, eager_start=True)  # type: ignore[call-arg, unused-ignore]  # where EAGER, which 3.11's stubs do not know
