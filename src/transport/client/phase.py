"""The phases of a client.

Phases, by what happens (`found`, `connected`, `receive`, `disconnected`, `close`):

    phase      | goes to
    -----------+------------------------------------------------------------------------
    FINDING    | CONNECTING when an endpoint is found; OVER, or FINDING later, when none is
    CONNECTING | GREETING when connected; FINDING when refused
    GREETING   | OPEN with Welcome; FINDING with 4501, 4001; CONNECTING again by the close code
    OPEN       | CONNECTING again with a close code that comes back, else OVER
    OVER       | nothing
"""

from enum import Enum


class Phase(Enum):
    """Where the connection is."""

    FINDING = "finding"
    CONNECTING = "connecting"
    GREETING = "greeting"
    OPEN = "open"
    OVER = "over"
