"""Supervision: which children are restarted, how often, and after what pause.

The names and their meaning are those of Erlang/OTP's `supervisor` (Supervision Principles, "Restart
Strategy" and "Tuning the Intensity and Period"). The pause before a restart is that of Pekko's
`BackoffSupervisor`: exponential with jitter, so that an actor which crashes because something else
is unavailable does not overload it.
"""

from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Final

from actors.runtime.mailbox import Overflow


class Restart(Enum):
    """When a child that has ended is restarted."""

    PERMANENT = "permanent"
    """Always, unless it was told to stop."""
    TRANSIENT = "transient"
    """Only if it crashed."""
    TEMPORARY = "temporary"
    """Never. Its crash does not count against the intensity."""


class Order(Enum):
    """How the children of an actor are stopped."""

    REVERSE = "reverse"
    """One after the other, youngest first."""
    TOGETHER = "together"
    """All at once; for many children that do not depend on each other."""


class Strategy(Enum):
    """Which children are restarted with one (OTP Supervision Principles, "Restart Strategy")."""

    ONE_FOR_ONE = "one for one"
    """That child alone."""
    ONE_FOR_ALL = "one for all"
    """All children: they depend on each other."""
    REST_FOR_ONE = "rest for one"
    """That child and those started after it, which depend on it."""


@dataclass(frozen=True, slots=True)
class Intensity:
    """The most restarts that are allowed: `restarts` within `period` seconds."""

    restarts: int = 3
    period: float = 5.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """The pause before a restart: `initial * factor ** n` seconds, at most `maximum`.

    n counts the restarts since the actor last ran for `settled` seconds (None: `maximum`) without a
    crash. Each pause is then varied at random by up to the fraction `jitter` of itself.
    """

    initial: float = 0.05
    factor: float = 2.0
    maximum: float = 30.0
    jitter: float = 0.1
    settled: float | None = None

    def pause(self, restarts: int, random: Random) -> float:
        """Return the seconds to wait before restart number `restarts` (from 0)."""
        if not self.initial:
            return 0.0
        exponent = min(restarts, 64)
        pause = min(self.initial * self.factor**exponent, self.maximum)
        return pause * (1.0 + self.jitter * (2.0 * random.random() - 1.0))


@dataclass(frozen=True, slots=True)
class Supervision:
    """How an actor supervises its children: which are restarted, and how often in total.

    In a group restart the other children are halted first, youngest first, each within its shutdown
    limit: `stopped` runs, refs and mailboxes are kept, and watchers are not notified. Then all are
    started in order, each when the one before it is ready. A temporary child in the group is
    stopped for good.
    """

    strategy: Strategy = Strategy.ONE_FOR_ONE
    intensity: Intensity = Intensity()
    order: Order = Order.REVERSE


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """The settings for one child: its restart, its shutdown and its mailbox.

    shutdown: seconds that the current message may take once the actor is told to stop, and that
        `stopped` may take after it; beyond that its task is cancelled. 0: cancelled at once. The
        time that its children take is not counted; they have limits of their own.
    intensity: the child's own restart intensity; if it is exceeded, only the child is given up.
        None: restarts count against the supervisor's, and if that is exceeded, it crashes.
    """

    restart: Restart = Restart.PERMANENT
    shutdown: float = 5.0
    capacity: int = 1024
    overflow: Overflow = Overflow.WAIT
    backoff: Backoff = Backoff()
    intensity: Intensity | None = None


DEFAULT_LIFECYCLE: Final = Lifecycle()


class Exit(Enum):
    """How an actor ended."""

    NORMAL = "normal"
    """It ended by itself."""
    SHUTDOWN = "shutdown"
    """It was told to stop and did so."""
    KILLED = "killed"
    """It was told to stop and was cancelled."""
    CRASHED = "crashed"
    """It crashed and was not restarted."""


@dataclass(frozen=True, slots=True)
class Down:
    """The end of an actor. `error`: what it crashed with, or the Rejected that ended its start."""

    path: str
    name: str
    exit: Exit
    error: BaseException | None = None


class RestartWindow:
    """The times of recent restarts, which are counted against an intensity."""

    __slots__ = ("_times",)

    def __init__(self) -> None:
        self._times: tuple[float, ...] = ()

    def allows(self, intensity: Intensity, now: float) -> bool:
        """Count a restart at `now`; return False if that exceeds the intensity."""
        since = now - intensity.period
        self._times = (*(time for time in self._times if time > since), now)
        return len(self._times) <= intensity.restarts


class Record:
    """The restarts of one child since it was first started; created when it first crashes."""

    __slots__ = ("restarts", "streak", "window")

    def __init__(self) -> None:
        self.window: RestartWindow = RestartWindow()
        self.restarts: int = 0
        self.streak: int = 0

    def next_pause(self, backoff: Backoff, ran_for: float, random: Random) -> float:
        """Return the seconds before the next restart of a child that ran for `ran_for` seconds."""
        if ran_for >= (backoff.maximum if backoff.settled is None else backoff.settled):
            self.streak = 0
        pause = backoff.pause(self.streak, random)
        self.streak += 1
        return pause


@dataclass(slots=True)
class Tally:
    """Counters of a supervisor's children since it was first started."""

    started: int = 0
    stopped: int = 0
    crashed: int = 0
    restarted: int = 0
    given_up: int = 0
