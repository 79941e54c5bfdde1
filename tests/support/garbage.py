"""Finds what only the garbage collector can free."""

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def garbage() -> Iterator[Counter[str]]:
    """Count the objects of our classes that the block makes and leaves in reference cycles.

    Older ones are frozen: a thread of an earlier test may end in the block and let go of some.
    """
    left: Counter[str] = Counter()
    gc.collect()
    gc.freeze()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield left
        gc.collect()
        ours = ("actors", "callboard", "callboard_service", "transport")
        kinds = [type(each) for each in gc.garbage]
        left.update(kind.__qualname__ for kind in kinds if kind.__module__.startswith(ours))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.unfreeze()
        gc.enable()
