"""How the commands end, for the shell."""

import os
import sys
from enum import IntEnum


class Exit(IntEnum):
    """Exit codes."""

    DONE = 0
    FAILED = 1
    """The service answered with an error, or was lost."""
    BAD_USE = 2
    """A setting, an argument or the machine does not allow it."""
    NO_SERVICE = 3
    """No service was found."""
    INTERRUPTED = 130
    """Ctrl-C."""
    PIPE_CLOSED = 141
    """Nobody reads standard output any more; as a shell reports what SIGPIPE ended."""


def drop_unwritable_output() -> None:
    """If standard output cannot be written, send to nowhere what it still holds.

    Else the interpreter tries once more at its end, says on standard error that it failed, and
    may end with exit code 120.
    """
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
