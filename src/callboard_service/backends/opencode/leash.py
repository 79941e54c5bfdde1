"""Run a program that ends when its parent does, however that ends: `leash.py PID PROGRAM ...`.

PR_SET_PDEATHSIG stays set across an exec. Systems other than Linux lack it; the program then runs
without this protection.
"""

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def main() -> None:
    """Request the signal, exit if the parent has ended already, and become the program."""
    parent, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            sys.exit(1)
    os.execv(program[0], program)  # noqa: S606  # running the given program is the purpose


if __name__ == "__main__":
    main()
