"""What the runtime reports, to whoever subscribes. Nobody listens: no event is even made."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from actors.runtime.supervision import Exit


@dataclass(frozen=True, slots=True)
class Started:
    """The actor is ready for messages, for the first time or again."""

    path: str
    restarts: int


@dataclass(frozen=True, slots=True)
class Crashed:
    """The actor raised `error` while it handled a message of type `message` ("" in a hook)."""

    path: str
    error: BaseException
    message: str
    restart_in: float | None
    """Seconds; None: it is not started again."""


@dataclass(frozen=True, slots=True)
class ChildGivenUp:
    """The child spent the intensity. `escalated`: its supervisor crashes for it."""

    path: str
    error: BaseException
    escalated: bool


@dataclass(frozen=True, slots=True)
class Stopped:
    """The actor is no more."""

    path: str
    exit: Exit


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that no actor will handle."""

    path: str
    message: str


@dataclass(frozen=True, slots=True)
class Stuck:
    """The actor was cancelled and did not end for `seconds`; it is left behind."""

    path: str
    message: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Blocked:
    """The event loop gives no sign of life for `seconds`, and this actor has the turn.

    path, message: empty if it is no actor that has it. where: the line of code that runs.
    Alone of all events it comes from another thread, at once: the loop's own is the one held up.
    """

    path: str
    message: str
    seconds: float
    where: str


Event: TypeAlias = Started | Crashed | ChildGivenUp | Stopped | DeadLetter | Stuck | Blocked
Observer: TypeAlias = Callable[[Event], None]
