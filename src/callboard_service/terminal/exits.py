"""Defines the exit codes of the commands."""

import os
import sys
from enum import IntEnum


class Exit(IntEnum):
    """Exit codes."""

    DONE = 0
    FAILED = 1
    """The service answered with an error or was lost, or the output cannot be written."""
    BAD_USE = 2
    """A setting or an argument is invalid, or the system does not allow it."""
    NO_SERVICE = 3
    """No service was found, or it does not accept the client."""
    INTERRUPTED = 130
    """Ctrl-C."""
    PIPE_CLOSED = 141
    """Standard output is closed; the code that a shell reports for a process ended by SIGPIPE."""


def drop_unwritable_output() -> None:
    """Discard the buffer of standard output if it cannot be written.

    Otherwise the interpreter tries again when it exits, reports the failure on standard error, and
    may exit with code 120.
    """
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
