"""Tests behave the same under nohup."""

import signal
import sys


def stop_ignoring_hangups() -> None:
    """Make processes that are started from now on end on SIGHUP, as the tests expect.

    Under nohup SIGHUP is ignored, and processes inherit that; a handler is not inherited. This
    process goes on ignoring it.
    """
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)
