"""Every error of the terminal's chat.

TerminalError
├── BadUse         the command was given what makes no sense; exit code 2
├── NoService      no service is there to talk to; exit code 3
├── NotAnOption    an answer that an ask does not offer
├── Interrupted    Ctrl-C at a prompt
├── InputEnded     Ctrl-D at a prompt, or its terminal is gone
└── OutputFailed   standard output takes nothing any more; carries the OSError
"""

import errno


class TerminalError(Exception):
    """Base; the text is for a person to read."""


class BadUse(TerminalError):
    """The command was given what makes no sense; the text says what would."""


class NoService(TerminalError):
    """No service is running where one was looked for, or it does not let anybody in."""


class NotAnOption(TerminalError):
    """The text says how to answer."""


class Interrupted(TerminalError):
    """Ctrl-C at a prompt."""


class InputEnded(TerminalError):
    """Nothing more will be typed."""


class OutputFailed(TerminalError):
    """Standard output cannot be written; `closed`: its reader has gone."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output cannot be written: {error.strerror or error}")
        # Windows says EINVAL for a pipe without a reader, which Python leaves a plain OSError.
        self.closed = isinstance(error, BrokenPipeError) or error.errno == errno.EINVAL
