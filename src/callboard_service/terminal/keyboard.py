"""The keyboard while a reply streams: what is typed then waits for the next prompt, unseen.

An ask drops it: keys that were pressed before somebody could read the ask do not answer it.
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
    """Within this block nothing typed is echoed into the reply, `^C` neither.

    Where that cannot be had, on Windows too, it is echoed.
    """
    if sys.platform == "win32":
        yield
        return
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
    """Drop what was typed and not read yet. fileno: returns the terminal's descriptor.

    What is no terminal is left alone.
    """
    if sys.platform == "win32":
        while msvcrt.kbhit():
            msvcrt.getwch()
        return
    with contextlib.suppress(OSError, ValueError, NotImplementedError, termios.error):
        termios.tcflush(fileno(), termios.TCIFLUSH)
