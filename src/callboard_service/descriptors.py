"""Open the standard descriptors that were closed when the process was started.

With descriptor 2 closed, the first socket or file that is opened gets the number 2, and what is
meant for standard error is written into it; libuv aborts the process. So this must run before
anything is opened, and imports nothing that opens something.
"""

import os
import sys
from typing import Final

STANDARD_INPUT: Final = 0
STANDARD_OUTPUT: Final = 1
STANDARD_ERROR: Final = 2


def open_standard_descriptors() -> None:
    """Open each of the descriptors 0 to 2 that is closed on the null device, for children too."""
    for descriptor in (STANDARD_INPUT, STANDARD_OUTPUT, STANDARD_ERROR):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            os.dup2(opened, descriptor, inheritable=True)
            if opened == descriptor:
                os.set_inheritable(descriptor, True)
            else:
                os.close(opened)
    # Python has None in place of a stream whose descriptor was closed.
    if sys.stdin is None:
        sys.stdin = open(STANDARD_INPUT, encoding="utf-8", closefd=False)  # noqa: SIM115 - for good
    if sys.stdout is None:
        sys.stdout = open(STANDARD_OUTPUT, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - for good
    if sys.stderr is None:
        sys.stderr = open(STANDARD_ERROR, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - for good
