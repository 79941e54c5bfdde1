"""Supervision: who is restarted, how often, after what pause, and who is told.

After Erlang/OTP's `supervisor` (Supervision Principles, "Restart Strategy" and "Tuning the
Intensity and Period"): the names and their meaning are OTP's. The pause before a restart is
Pekko's `BackoffSupervisor`: exponential with jitter, so that what crashes for want of something
else does not beat on it.
"""

from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Final

from actors.runtime.mailbox import Overflow


class Restart(Enum):
    """When a child that ended is started again."""

    PERMANENT = "permanent"
    """Always, but when it was told to stop."""
    TRANSIENT = "transient"
    """Only when it crashed."""
    TEMPORARY = "temporary"
    """Never. Its crash does not count against the intensity."""


class Order(Enum):
    """How the children of an actor are stopped."""

    REVERSE = "reverse"
    """One after the other, the youngest first."""
    TOGETHER = "together"
    """All at once; for many children that do not know each other."""


class Strategy(Enum):
    """Who is restarted with a child (OTP Supervision Principles, "Restart Strategy")."""

    ONE_FOR_ONE = "one for one"
    """That child alone."""
    ONE_FOR_ALL = "one for all"
    """All children: they cannot work without each other."""
    REST_FOR_ONE = "rest for one"
    """That child and those started after it: they cannot work without it."""


@dataclass(frozen=True, slots=True)
class Intensity:
    """More than `restarts` restarts within `period` seconds are too many."""

    restarts: int = 3
    period: float = 5.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """The pause before a restart: `initial * factor ** n` seconds, at most `maximum`.

    n counts the restarts since the actor last ran for `settled` seconds (None: `maximum`) without a
    crash. Each pause is longer or shorter by up to the share `jitter`.
    """

    initial: float = 0.05
    factor: float = 2.0
    maximum: float = 30.0
    jitter: float = 0.1
    settled: float | None = None

    def pause(self, restarts: int, random: Random) -> float:
        """Seconds to wait before restart number `restarts` (from 0)."""
        if not self.initial:
            return 0.0
        exponent = min(restarts, 64)
        pause = min(self.initial * self.factor**exponent, self.maximum)
        return pause * (1.0 + self.jitter * (2.0 * random.random() - 1.0))


@dataclass(frozen=True, slots=True)
class Supervision:
    """How an actor looks after its children: who is restarted, and how often, all in all.

    Where others are restarted along with a child, they are stopped first, the youngest first, each
    within its shutdown limit; `stopped` runs, refs and mailboxes stay, nobody who watches hears of
    it. Then all are started in their order, each when the one before it is ready. A temporary
    child among them is stopped for good.
    """

    strategy: Strategy = Strategy.ONE_FOR_ONE
    intensity: Intensity = Intensity()
    order: Order = Order.REVERSE


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """How one child lives: its restart, its shutdown, its mailbox.

    shutdown: seconds that the message in hand may take when the actor is told to stop, and as many
        for `stopped`; past them its task is cancelled. 0: cancelled at once. Children have limits
        of their own, and their time is not counted.
    intensity: a budget of the child's own. Spent, the child alone is given up. None: it spends its
        supervisor's, and when that is spent the supervisor crashes.
    """

    restart: Restart = Restart.PERMANENT
    shutdown: float = 5.0
    capacity: int = 1024
    overflow: Overflow = Overflow.WAIT
    backoff: Backoff = Backoff()
    intensity: Intensity | None = None


DEFAULT_LIFECYCLE: Final = Lifecycle()


class Exit(Enum):
    """Why an actor is no more."""

    NORMAL = "normal"
    """It ended by itself."""
    SHUTDOWN = "shutdown"
    """It was told to stop, and did."""
    KILLED = "killed"
    """It was told to stop, and had to be cancelled."""
    CRASHED = "crashed"
    """It raised, and was not started again."""


@dataclass(frozen=True, slots=True)
class Down:
    """An actor is no more. `error`: what it crashed with."""

    path: str
    name: str
    exit: Exit
    error: BaseException | None = None


class RestartWindow:
    """The restarts of the recent past, held against an intensity."""

    __slots__ = ("_times",)

    def __init__(self) -> None:
        self._times: tuple[float, ...] = ()

    def allows(self, intensity: Intensity, now: float) -> bool:
        """Enter a restart at `now`; False if that is one too many."""
        since = now - intensity.period
        self._times = (*(time for time in self._times if time > since), now)
        return len(self._times) <= intensity.restarts


class Record:
    """What one child has done since it was first started: of use to nobody until it crashes."""

    __slots__ = ("restarts", "streak", "window")

    def __init__(self) -> None:
        self.window = RestartWindow()
        self.restarts: int = 0
        self.streak: int = 0

    def next_pause(self, backoff: Backoff, ran_for: float, random: Random) -> float:
        """Seconds before the next restart of a child that ran for `ran_for` seconds."""
        if ran_for >= (backoff.maximum if backoff.settled is None else backoff.settled):
            self.streak = 0
        pause = backoff.pause(self.streak, random)
        self.streak += 1
        return pause


@dataclass(slots=True)
class Tally:
    """What a supervisor's children did, since it was first started."""

    started: int = 0
    stopped: int = 0
    crashed: int = 0
    restarted: int = 0
    given_up: int = 0
