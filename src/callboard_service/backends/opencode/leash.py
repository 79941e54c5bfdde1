"""Runs a program that ends when its parent does, however that ends: `leash.py PID PROGRAM ...`.

PR_SET_PDEATHSIG stays set over an exec. Where there is no such thing the program runs all the same.
"""

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def main() -> None:
    """Ask for the signal, see that it does not come too late, become the program."""
    parent, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            sys.exit(1)
    os.execv(program[0], program)  # noqa: S606  # that is what it is for


if __name__ == "__main__":
    main()
