"""How long an agent may take."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class AcpTimeouts:
    """Times in seconds.

    start: for each of the calls before the first prompt. silence: until a person is told that the
    agent is silent; doubled each time. underway: until a prompt counts as begun, and can be
    cancelled, although nothing has been seen of it. cancel: for the answer to a cancelled prompt,
    before the process is ended. close: for the process to end by itself. choose: for it to take an
    option. hurry: in place of `close` when the service stops, and then again between SIGTERM and
    SIGKILL.
    """

    start: float = 120.0
    silence: float = 60.0
    underway: float = 0.3
    cancel: float = 5.0
    close: float = 8.0
    choose: float = 10.0
    hurry: float = 1.0


DEFAULT_TIMEOUTS: Final = AcpTimeouts()
