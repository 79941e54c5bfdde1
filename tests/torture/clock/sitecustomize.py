"""Make `time.sleep` work under libfaketime, for the service whose clock is stepped.

Since Python 3.11 `time.sleep` calls `clock_nanosleep` with an absolute time of the monotonic
clock, from which libfaketime 0.9.10 subtracts the offset of the wall clock: it fails with EINVAL,
or sleeps for hours. `select` is not affected. The interpreter imports this module at its start,
since its folder is on PYTHONPATH.
"""

import select
import time
from typing import SupportsIndex


def sleep(seconds: float | SupportsIndex, /) -> None:
    """Sleep. Raises ValueError if the time is negative."""
    select.select((), (), (), float(seconds))


time.sleep = sleep
