"""Defines the errors of the terminal commands.

TerminalError
├── BadUse         the command's arguments or input are invalid; exit code 2
├── NoService      no service is running, or it refuses the client; exit code 3
├── BadCommand     a line of a chat that begins with "/" cannot be carried out
├── NotAnOption    an answer that an ask does not offer
├── Interrupted    Ctrl-C at a prompt
├── InputEnded     Ctrl-D at a prompt, or its terminal is gone
└── OutputFailed   standard output cannot be written
"""

import errno


class TerminalError(Exception):
    """Base class. The text is for a person to read."""


class BadUse(TerminalError):
    """The command's arguments or input are invalid. The text says what is valid."""


class NoService(TerminalError):
    """No service was found, or it does not accept the client."""


class BadCommand(TerminalError):
    """A command of a chat cannot be carried out. The text says why, or what is valid."""


class NotAnOption(TerminalError):
    """The answer is not one that the ask offers. The text says how to answer."""


class Interrupted(TerminalError):
    """Ctrl-C at a prompt."""


class InputEnded(TerminalError):
    """Ctrl-D at a prompt, or the terminal is gone: there will be no more input."""


class OutputFailed(TerminalError):
    """Standard output cannot be written. closed: whether its reader is gone."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"cannot write to standard output: {error.strerror or error}")
        # Windows reports EINVAL for a pipe without a reader; Python raises a plain OSError for it.
        self.closed = isinstance(error, BrokenPipeError) or error.errno == errno.EINVAL
