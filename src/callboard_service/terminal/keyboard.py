"""Controls the keyboard while a reply streams: input is not echoed, and waits for the next prompt.

An ask drops such input: keys pressed before the ask was readable must not answer it.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TextIO

if sys.platform == "win32":
    import msvcrt
else:
    import termios


@contextlib.contextmanager
def unseen(terminal: TextIO) -> Iterator[None]:
    """Disable the terminal's echo within the block, so that no input, nor `^C`, shows in the reply.

    Does nothing on Windows or if `terminal` is not a terminal.
    """
    if sys.platform == "win32":
        yield
    else:
        try:
            number = terminal.fileno()
            before = termios.tcgetattr(number)
            during = termios.tcgetattr(number)
            during[3] &= ~termios.ECHO
            termios.tcsetattr(number, termios.TCSADRAIN, during)
        except (OSError, ValueError, termios.error):
            yield
            return
        try:
            yield
        finally:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(number, termios.TCSADRAIN, before)


def discard_typed(fileno: Callable[[], int]) -> None:
    """Drop input that was typed and not read yet. fileno: returns the terminal's descriptor.

    Does nothing if it is not a terminal.
    """
    if sys.platform == "win32":
        while msvcrt.kbhit():
            msvcrt.getwch()
    else:
        with contextlib.suppress(OSError, ValueError, NotImplementedError, termios.error):
            termios.tcflush(fileno(), termios.TCIFLUSH)
