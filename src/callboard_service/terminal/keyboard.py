"""The keyboard while a reply streams: what is typed then waits for the next prompt, unseen."""

import contextlib
import sys
from collections.abc import Iterator
from typing import TextIO

if sys.platform != "win32":
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
