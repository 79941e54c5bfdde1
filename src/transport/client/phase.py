"""The phases of a client.

Phases, by event (`found`, `connected`, `receive`, `disconnected`, `close`):

    phase      | goes to
    -----------+---------------------------------------------------------------------------
    FINDING    | CONNECTING, to the last endpoint if none is found; OVER when it gives up
    CONNECTING | GREETING when connected; FINDING when refused, or OVER by the close code
    GREETING   | OPEN with Welcome; FINDING with 4501, 4001; else by the close code as OPEN
    OPEN       | CONNECTING after a close code that permits reconnecting; else OVER
    OVER       | nothing
"""

from enum import Enum


class Phase(Enum):
    """The state of the connection."""

    FINDING = "finding"
    CONNECTING = "connecting"
    GREETING = "greeting"
    OPEN = "open"
    OVER = "over"
