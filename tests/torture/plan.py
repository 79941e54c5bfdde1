"""What happens in a round, drawn from a seed: settings, conditions with their times, the ending."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Final, Literal

Backend = Literal["local", "openai", "echo"]
Log = Literal["pipe", "full", "disk"]

EVERYWHERE: Final = frozenset({"local", "openai", "echo"})
STORED: Final = frozenset({"local", "openai"})

SILENCE_SETTING: Final = "local_silence_ms"
"""The setting, in milliseconds, after which a silent model is started again.

Empty: there is no such setting, and a stopped model is only required not to block anything else.
"""

SILENCE: Final = 3.0
"""Its value in every round, in seconds."""

ROUND: Final = (15.0, 25.0)
"""Seconds that a round lasts, from ready to the ending signal."""

HOUR: Final = 3600


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that goes wrong. `needs`: what the machine must have for it."""

    name: str
    about: str
    backends: frozenset[str] = EVERYWHERE
    needs: str = ""
    sessions: int = 0
    """Hostile sessions that hold memory, for each step."""
    hostile: bool = False


def _hostile(name: str, about: str, sessions: int = 1) -> Condition:
    return Condition(name, about, sessions=sessions, hostile=True)


LOGS: Final = ("log-stuck", "log-gone", "log-full", "log-disk")
ENDINGS: Final = ("sighup", "sigint", "second-signal")

CONDITIONS: Final = {
    condition.name: condition
    for condition in (
        Condition("log-stuck", "standard error is a pipe that nobody reads for a while"),
        Condition("log-gone", "the reader of standard error goes"),
        Condition("log-full", "standard error is /dev/full"),
        Condition("log-disk", "standard error is a file on the full disk", needs="mount"),
        Condition("disk", "the disk of the data folder is full", STORED, needs="mount"),
        Condition("lock", "another process locks the database", STORED),
        Condition("clock", "the wall clock is stepped by hours", needs="faketime"),
        Condition("second", "a second service comes and goes"),
        Condition("status", "`callboard status` is run"),
        Condition("model-kill", "the model's process is killed", frozenset({"local"})),
        Condition("model-stop", "the model's process is stopped", frozenset({"local"})),
        _hostile("unread-history", "pages of history that are never read", 2),
        _hostile("unread-lists", "long lists that are never read"),
        _hostile("big-answers", "AnswerRequests of 1 MB to a reply that awaits none"),
        _hostile("reconnects", "sessions that are opened and dropped"),
        _hostile("silent-sockets", "WebSockets without a Hello, renewed when cut", 0),
        _hostile("credit-one", "250 replies at credit 1, which is never raised"),
        _hostile("flood", "requests at the rate limit"),
        _hostile("big-messages", "messages of 900 kB at the rate limit"),
        _hostile("empty-frames", "bursts of 50,000 empty frames, and of pings"),
        _hostile("foreign-origin", "connections with a foreign Origin", 0),
        _hostile("slow-headers", "HTTP headers that drip", 0),
        _hostile("takeovers", "a session that is taken over again and again"),
        Condition("sighup", "the ending signal is SIGHUP"),
        Condition("sigint", "the ending signal is SIGINT"),
        Condition("second-signal", "a second signal follows"),
    )
}
SPANS: Final = {"model-stop": (2.0, 14.0)}
"""The range of seconds that a condition lasts; the default is 1 to 8."""

AT_ONCE: Final = ("second", "status", "model-kill")
"""Conditions that happen at a moment and have no duration."""


@dataclass(frozen=True, slots=True)
class Step:
    """A condition from `at` to `until` (seconds after ready; None: until after the exit).

    `variant`: a number from 0 to 1 by which the condition chooses between its forms.
    """

    name: str
    at: float
    until: float | None
    variant: float


@dataclass(frozen=True, slots=True)
class Plan:
    """One round. `signals`: seconds after the end of the round, and the signal's name."""

    number: int
    seconds: float
    backend: Backend
    settings: dict[str, str]
    drain: float
    budget: int
    log: Log
    on_small_disk: bool
    clock: int | None
    """Seconds by which the service's clock is wrong at its start; None: it is never stepped."""
    steps: tuple[Step, ...]
    signals: tuple[tuple[float, str], ...]
    settle: bool
    """End all conditions, and wait until each request has ended, before the signal."""
    left_out: tuple[str, ...] = ()

    @property
    def hostile_sessions(self) -> int:
        """Return how many hostile sessions there are at most."""
        return sum(CONDITIONS[step.name].sessions for step in self.steps)

    def steps_of(self, *, hostile: bool) -> list[Step]:
        """Return the steps that hostile clients carry out, or all the others."""
        return [step for step in self.steps if CONDITIONS[step.name].hostile is hostile]


def make_plan(
    seed: int,
    number: int,
    available: frozenset[str],
    *,
    seconds: float | None = None,
    only: tuple[str, ...] = (),
    backend: Backend | None = None,
) -> Plan:
    """Draw the plan of a round. The same arguments give the same plan.

    Conditions whose needs are not `available` are drawn and then left out, so that the rest of a
    plan is the same on every machine. `only`: these conditions and no others.
    """
    draw = Random(f"{seed}/{number}")
    drawn: Backend = draw.choices(("local", "openai", "echo"), (50, 30, 20))[0]
    lasting = draw.uniform(*ROUND)
    chosen = _choose(draw, drawn)
    settings, drain, budget = _settings(draw)
    if only:
        chosen = list(only)
        fits = all(drawn in CONDITIONS[name].backends for name in only)
        drawn = drawn if fits else "local"
    drawn = drawn if backend is None else backend
    settings |= _special_settings(chosen)
    present = [n for n in chosen if CONDITIONS[n].needs in available | {""}]
    lasting = lasting if seconds is None else seconds
    steps = [step for name in chosen for step in _times(draw, name, lasting)]
    signals = _signals(draw, chosen)
    settle = draw.random() < 0.4
    start = draw.choice((-2 * HOUR, 3 * HOUR))
    return Plan(
        number,
        lasting,
        drawn,
        settings,
        drain,
        budget,
        "full" if "log-full" in present else "disk" if "log-disk" in present else "pipe",
        "disk" in present or "log-disk" in present,
        start if "clock" in present else None,
        tuple(step for step in steps if step.name in present),
        signals,
        settle and not only,
        tuple(name for name in chosen if name not in present),
    )


def _choose(draw: Random, backend: str) -> list[str]:
    fitting = [c for c in CONDITIONS.values() if backend in c.backends and c.name not in ENDINGS]
    hostile = [c.name for c in fitting if c.hostile]
    others = [c.name for c in fitting if not c.hostile]
    chosen = draw.sample(others, draw.randint(2, 4)) + draw.sample(hostile, draw.randint(1, 3))
    chosen += [name for name in ENDINGS if draw.random() < 0.2]
    kept = next((name for name in chosen if name in LOGS), None)
    return [name for name in chosen if name not in LOGS or name == kept]


def _settings(draw: Random) -> tuple[dict[str, str], float, int]:
    drain = draw.choice((0.3, 1.0, 3.0))
    budget = draw.choice((128, 128, 512)) * 1024 * 1024
    return (
        {
            "drain_ms": str(int(drain * 1000)),
            "memory_budget": str(budget),
            "max_handshakes": draw.choice(("32", "256")),
            "max_sessions": draw.choice(("200", "1000")),
            "handshake_timeout_ms": draw.choice(("3000", "10000")),
            "slow_consumer_ms": draw.choice(("3000", "30000")),
            "heartbeat_interval_ms": draw.choice(("2000", "20000")),
        },
        drain,
        budget,
    )


def _special_settings(chosen: list[str]) -> dict[str, str]:
    settings: dict[str, str] = {}
    if SILENCE_SETTING:
        settings[SILENCE_SETTING] = str(int(SILENCE * 1000))
    if any(name in LOGS for name in chosen):
        settings["log_level"] = "debug"  # soon fills a pipe that is not read
    return settings


def _times(draw: Random, name: str, seconds: float) -> Iterator[Step]:
    """Draw one or two times at which a condition begins and ends."""
    lasting = draw.random() < 0.4
    for turn in range(draw.choice((1, 2, 2))):
        at = draw.uniform(1.0, max(seconds - 4.0, 2.0))
        until: float | None = at + draw.uniform(*SPANS.get(name, (1.0, 8.0)))
        if name in AT_ONCE:
            until = at
        elif lasting or until is None or until >= seconds:
            until = None
        if name in ENDINGS or (turn and name in ("log-gone", "log-full")):
            continue
        yield Step(name, 0.0 if name == "log-full" else at, until, draw.random())


def _signals(draw: Random, chosen: list[str]) -> tuple[tuple[float, str], ...]:
    after = draw.uniform(0.05, 1.5)
    first = next((n.upper() for n in ("sighup", "sigint") if n in chosen), "SIGTERM")
    if "second-signal" not in chosen:
        return ((0.0, first),)
    return ((0.0, first), (after, draw.choice(("SIGTERM", "SIGINT"))))
