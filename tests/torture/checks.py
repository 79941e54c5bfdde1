"""The checks of every round. Each takes what was recorded and returns a list of what is wrong."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.torture.trace import SESSION, Event

MIB: Final = 1024 * 1024

LOCKOUT: Final = 2.0
"""Seconds that a client that tries may go without any answer."""

REQUEST_TIME: Final = 30.0
"""Seconds in which a request must end once it was sent and all conditions have ended."""

EXIT_SLACK: Final = 5.0
"""Seconds that the process has after the drain time, or after a second signal."""

SESSION_BYTES: Final = 96 * MIB
"""The memory in bytes that one hostile session may cost at most."""

FIXED_BYTES: Final = 128 * MIB
"""The memory in bytes for everything else: socket buffers, answers under construction, the good
client, and freed memory that is not returned to the system."""

SENT_BEFORE: Final = 0.5
"""Seconds before GoingAway; a request that was sent earlier has certainly arrived."""

THROWN_OUT: Final = frozenset({"1002", "1003", "1007", "1008", "1009"})


@dataclass(frozen=True, slots=True)
class Lockout:
    """A time in which the client tried and got no answer; `seconds` leaves out what is excused."""

    lane: str
    since: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Sample:
    """Resident bytes at a time: of the service's process, and with all its children."""

    at: float
    alone: int
    together: int


@dataclass(frozen=True, slots=True)
class Exit:
    """How the service ended.

    `seconds`: from the first signal to the end; None: it had to be killed. `second_at`: seconds
    from the first signal to the second. `children`: child processes that were left.
    """

    signals: tuple[int, ...]
    seconds: float | None
    code: int | None
    second_at: float | None = None
    runtime_file_left: bool = False
    children: tuple[str, ...] = ()


def lockouts(events: Iterable[Event], until: float) -> list[Lockout]:
    """Return how long each attempt before `until` went without an answer, lane by lane.

    An attempt begins with the first message that is sent after the last answer. Spans in which the
    client itself was not scheduled do not count, since they say nothing about the service.
    """
    events = [event for event in events if event.at <= until]
    late = [(event.at, event.until) for event in events if event.kind == "late"]
    waiting: dict[str, float] = {}
    found: list[Lockout] = []

    def close(lane: str, at: float) -> None:
        since = waiting.pop(lane, None)
        if since is not None:
            excused = sum(max(0.0, min(at, b) - max(since, a)) for a, b in late)
            found.append(Lockout(lane, since, at - since - excused))

    for event in events:
        if event.kind == "try":
            waiting.setdefault(event.lane, event.at)
        elif event.kind == "answer":
            close(event.lane, event.at)
        elif event.kind == "frame":
            close(SESSION, event.at)
    for lane in list(waiting):
        close(lane, until)
    return found


def check_lockouts(found: Iterable[Lockout], began: float) -> list[str]:
    """Check that the client is answered within LOCKOUT seconds.

    `began`: the time that counts as 0.
    """
    return [
        f"{out.lane}: no answer of any kind for {out.seconds:.1f} s, from {out.since - began:.1f} s"
        for out in found
        if out.seconds > LOCKOUT
    ]


@dataclass
class _Session:
    sent: dict[int, Event] = field(default_factory=dict)
    ended: dict[int, float] = field(default_factory=dict)
    sequence: int = 0
    going: float | None = None


class _Requests:
    """Follows each request from its frame to its end."""

    def __init__(self, quiet_from: float) -> None:
        self.wrong: list[str] = []
        self._quiet_from = quiet_from
        self._sessions: dict[int, _Session] = {}

    def see(self, event: Event) -> None:
        session = self._sessions.setdefault(event.session, _Session())
        match event.kind:
            case "sent":
                session.sent[event.request] = event
            case "frame":
                self._answer(session, event)
            case "going":
                session.going = event.at
            case "closed":
                self._closed(session, event)
            case "lost":
                self.give_up(event.session, event.at)
            case _:
                pass

    def _answer(self, session: _Session, event: Event) -> None:
        name = f"request {event.request} of session {event.session}"
        if event.sequence != session.sequence + 1:
            self.wrong.append(f"{name}: sequence {event.sequence} after {session.sequence}")
        session.sequence = event.sequence
        if event.request not in session.sent:
            self.wrong.append(f"{name} was answered and never sent")
        elif event.request in session.ended:
            what = "a second end" if event.end else "an answer after the end"
            self.wrong.append(f"{name} got {what}")
        elif event.end:
            session.ended[event.request] = event.at
            self._judge(session.sent[event.request], event.at, "took")

    def _judge(self, sent: Event, at: float, how: str) -> None:
        seconds = at - max(sent.at, self._quiet_from)
        if seconds > REQUEST_TIME:
            name = f"request {sent.request} ({sent.detail}) of session {sent.session}"
            self.wrong.append(f"{name} {how} {seconds:.0f} s")

    def _closed(self, session: _Session, event: Event) -> None:
        if event.detail in THROWN_OUT or "4500" <= event.detail <= "4999":
            self.wrong.append(f"the good client was thrown out with {event.detail}")
        if event.detail != "4001" or session.going is None:
            return
        for request, sent in session.sent.items():
            if request not in session.ended and sent.at < session.going - SENT_BEFORE:
                name = f"request {request} ({sent.detail}) of session {event.session}"
                self.wrong.append(f"{name} ended with its connection at the shutdown, without end")

    def give_up(self, number: int, at: float) -> None:
        session = self._sessions[number]
        for request, sent in session.sent.items():
            if request not in session.ended:
                self._judge(sent, at, "had no end after")
                session.ended[request] = at

    def finish(self, at: float) -> list[str]:
        for number in self._sessions:
            self.give_up(number, at)
        return self.wrong


def check_requests(events: Iterable[Event], quiet_from: float, over: float) -> list[str]:
    """Check that each request ends once and in time, and that no session's sequence has a gap.

    `quiet_from`: when all conditions had ended. `over`: when the client stopped looking. A request
    whose session was lost has ended with it. At a shutdown, requests end before their connection.
    """
    requests = _Requests(quiet_from)
    for event in events:
        if event.session:
            requests.see(event)
    return requests.finish(over)


def memory_bound(base: int, hostile_sessions: int, budget: int) -> int:
    """Return the bytes that the service may hold.

    `base` is what it holds when it is ready. Each hostile session may add SESSION_BYTES, but all
    of them no more than the setting `memory_budget`; FIXED_BYTES are for everything else.
    """
    return base + FIXED_BYTES + min(hostile_sessions * SESSION_BYTES, budget)


def check_memory(samples: Sequence[Sample], bound: int) -> list[str]:
    """Check that the service's own process stays under the bound."""
    peak = max((sample.alone for sample in samples), default=0)
    if peak <= bound:
        return []
    return [f"memory: {peak / MIB:.0f} MiB, and the bound is {bound / MIB:.0f} MiB"]


def check_exit(end: Exit, drain: float) -> list[str]:
    """Check that the process ends in time, with the right code, and leaves nothing behind."""
    limit = (drain if end.second_at is None else end.second_at) + EXIT_SLACK
    wrong: list[str] = []
    if end.seconds is None:
        wrong.append(f"exit: still there long after the signal (limit {limit:.1f} s); killed")
    else:
        if end.seconds > limit:
            wrong.append(f"exit: it took {end.seconds:.1f} s, and the limit is {limit:.1f} s")
        expected = {0}
        if len(end.signals) > 1:
            expected |= {128 + number for number in end.signals}
        if end.code not in expected:
            wrong.append(f"exit: code {end.code}, expected one of {sorted(expected)}")
    if end.runtime_file_left:
        wrong.append("exit: the runtime file is still there")
    wrong += [f"exit: a process is left: {child}" for child in end.children]
    return wrong


def check_alive(ended_after: float | None, code: int | None) -> list[str]:
    """Check that the service does not end before it is told to.

    `ended_after`: the seconds after which it ended by itself; None: it did not.
    """
    if ended_after is None:
        return []
    return [f"the service ended by itself after {ended_after:.1f} s, with code {code}"]
