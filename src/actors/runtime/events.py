"""The events that the runtime reports to observers. Without any, most are not even created."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from actors.runtime.supervision import Exit


@dataclass(frozen=True, slots=True)
class Started:
    """The actor is ready for messages, for the first time."""

    path: str


@dataclass(frozen=True, slots=True)
class Restarted:
    """The actor is ready for messages again. restarts: how often it has been restarted."""

    path: str
    restarts: int


@dataclass(frozen=True, slots=True)
class Crashed:
    """The actor raised `error` while it handled a message of type `message`.

    message: "" in `started`, `main` or `down`; "stopped", "child_ended" or "watch" for an error in
    that hook or in a watch callback that does not restart the actor.
    """

    path: str
    error: BaseException
    message: str
    restart_in: float | None
    """Seconds until the restart; None if this error causes none."""


@dataclass(frozen=True, slots=True)
class ChildGivenUp:
    """The child exceeded the intensity. `escalated`: its supervisor crashes for that reason."""

    path: str
    error: BaseException
    escalated: bool


@dataclass(frozen=True, slots=True)
class Stopped:
    """The actor has ended."""

    path: str
    exit: Exit


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that no actor will handle."""

    path: str
    message: str


@dataclass(frozen=True, slots=True)
class Stuck:
    """The actor was cancelled and did not end within `seconds`; it is abandoned."""

    path: str
    message: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Blocked:
    """The event loop has not responded for `seconds` while this actor ran.

    path, message: empty if no actor ran. where: the line of code that was running. This is the only
    event that is reported from another thread, because the loop's own thread is blocked.
    """

    path: str
    message: str
    seconds: float
    where: str


Event: TypeAlias = (
    Started | Restarted | Crashed | ChildGivenUp | Stopped | DeadLetter | Stuck | Blocked
)
EVENTS: Final[tuple[type[Event], ...]] = (
    Started, Restarted, Crashed, ChildGivenUp, Stopped, DeadLetter, Stuck, Blocked,
)  # fmt: skip
Observer: TypeAlias = Callable[[Event], None]
