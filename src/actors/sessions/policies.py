"""How requests are supervised, and the limits on what a session has at once."""

from typing import Final

from actors.protocol.failure import Code, Failure
from actors.runtime.mailbox import Overflow
from actors.runtime.supervision import Intensity, Lifecycle, Restart

ONCE: Final = Lifecycle(
    restart=Restart.TEMPORARY, shutdown=0.0, capacity=64, overflow=Overflow.DROP_NEWEST
)
"""A request: never run again, cancelled at once; messages from its client are bounded."""

AGAIN: Final = Lifecycle(
    restart=Restart.TRANSIENT,
    shutdown=0.0,
    capacity=64,
    overflow=Overflow.DROP_NEWEST,
    intensity=Intensity(restarts=3, period=30.0),
)
"""A request that is safe to run again."""

MAKING: Final = 2
"""Requests of one session that may make a large answer at once; the others wait."""

UNCLAIMED: Final = 10.0
"""Minimum seconds to wait for a session's first connection, if the resume window is shorter."""

BUSY: Final = Failure(
    Code.RESOURCE_EXHAUSTED, "too many requests of this kind at once", retryable=True
)
