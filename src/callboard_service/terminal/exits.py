"""How the commands end, for the shell."""

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
