"""How sessions and requests are supervised, and how many of what a session has at once."""

from typing import Final

from actors.protocol.failure import Code, Failure
from actors.runtime.mailbox import Overflow
from actors.runtime.supervision import Intensity, Lifecycle, Restart

ONCE: Final = Lifecycle(
    restart=Restart.TEMPORARY, shutdown=0.0, capacity=64, overflow=Overflow.DROP_NEWEST
)
"""A request: never run again, cancelled at once. What a client sends to it is bounded."""

AGAIN: Final = Lifecycle(
    restart=Restart.TRANSIENT,
    shutdown=0.0,
    capacity=64,
    overflow=Overflow.DROP_NEWEST,
    intensity=Intensity(restarts=3, period=30.0),
)
"""A request that is safe to run again."""

SESSION: Final = Lifecycle(restart=Restart.TEMPORARY, shutdown=5.0, capacity=1024)
"""A session that crashed is gone; its client comes back to a new one (close code 4004)."""

MAKING: Final = 2
"""Requests of one session that make a large answer at once; the others wait."""

UNCLAIMED: Final = 10.0
"""Seconds that a new session waits for its first connection, if the resume window is shorter."""

BUSY: Final = Failure(
    Code.RESOURCE_EXHAUSTED, "too many requests of this kind at once", retryable=True
)
