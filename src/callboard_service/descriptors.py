"""Opens the standard descriptors that were closed when the process was started.

If descriptor 2 is closed, the first socket or file opened gets the number 2, and output for
standard error is written into it; libuv aborts the process. So this must run before anything is
opened, and must not import a module that opens something.
"""

import os
import sys
from typing import Final

STANDARD_INPUT: Final = 0
STANDARD_OUTPUT: Final = 1
STANDARD_ERROR: Final = 2


def open_standard_descriptors() -> None:
    """Open each closed descriptor from 0 to 2 on the null device, inheritable by children."""
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
    # Python sets a stream to None if its descriptor was closed. These streams stay open for good.
    if sys.stdin is None:
        sys.stdin = open(STANDARD_INPUT, encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(STANDARD_OUTPUT, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(STANDARD_ERROR, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
