"""What the good client saw, as events that are written to a file and read back.

Times are seconds of the system's monotonic clock, which all processes of a run share.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal

Kind = Literal["try", "answer", "late", "sent", "frame", "going", "closed", "lost"]

SESSION: Final = "session"
"""The lane of the connection that the client keeps."""

NEWCOMER: Final = "newcomer"
"""The lane of new connections, which send a Hello and nothing else."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    try     the client sent something on `lane`, or began to connect
    answer  the service answered on `lane`, with something that is not the frame of a request
    late    the client's own process was not scheduled from `at` to `until`
    sent    `request` of `session` was sent for the first time; `detail` is its kind
    frame   an answer to `request`; with `end`, `detail` is its error code, or OK
    going   GoingAway arrived in `session`
    closed  the connection of `session` ended with the close code `detail`
    lost    `session` is over, and with it every request that it had; `detail` says why
    """

    kind: Kind
    at: float
    lane: str = ""
    session: int = 0
    request: int = 0
    sequence: int = 0
    end: bool = False
    detail: str = ""
    until: float = 0.0

    def to_line(self) -> str:
        """Return the event as a line of JSON, without the fields that have their default."""
        return json.dumps({k: v for k, v in asdict(self).items() if v != _DEFAULTS.get(k, ...)})


_DEFAULTS: Final[dict[str, Any]] = {field.name: field.default for field in fields(Event)}


def write(path: Path, events: Iterable[Event]) -> None:
    """Append the events to a file."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(event.to_line() + "\n" for event in events)


def read(path: Path) -> list[Event]:
    """Return the events of a file, in order of time. A last line that was cut off is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    events = [Event(**json.loads(line)) for line in lines if line.endswith("\n")]
    return sorted(events, key=lambda event: event.at)
