"""The session protocol as a state machine without I/O.

Rules, from which the rest follows:

1. A request id is above all that were received before; one that is not is a violation (4500).
2. Each id received ends exactly once, and nothing comes after its end, whatever races.
3. An answer has the next sequence number: 1, 2, 3, ... without a gap.
4. What is owed (the closing of an ask) goes out before the end.
5. At the limit of its credit, or with the outbox full, a request has no room; its end always has.

States of a request, by what happens:

    state    | answer | end, cancel, deadline | actor gone
    ---------+--------+-----------------------+-------------------
    OPEN     | OPEN   | ENDING                | (INTERNAL) gone
    ENDING   | ignored| ENDING                | gone

A request that is ENDING has sent its end; its actor is still cleaning up and counts as in flight.
Frames and facts go in, effects come out; bytes come from the `encode` that was handed in.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from actors.failure import Code, Failure
from actors.frames import (
    Ack,
    Cancel,
    Completed,
    Credit,
    Frame,
    GoingAway,
    Grant,
    Inform,
    Input,
    Message,
    Notice,
    Ping,
    Pong,
    Request,
    Violation,
)

Said: TypeAlias = Message | Failure | Notice | Grant | Completed | Pong | GoingAway
Encode: TypeAlias = Callable[[int, int, bool, Said], bytes]
"""request_id, sequence, end, what is said -> the bytes of one frame. Raises TypeError."""

PROTOCOL_VIOLATION: Final = 4500

UNLIMITED: Final = 2**64


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """What one session may take.

    outbox_bytes: answers that wait for the socket; beyond it streams wait.
    """

    max_requests_in_flight: int = 256
    outbox_bytes: int = 256 * 1024


@dataclass(slots=True)
class Start:
    """Run this request."""

    request: Request


@dataclass(slots=True)
class Stop:
    """The request has ended with this failure; its actor is to stop."""

    request_id: int
    failure: Failure


@dataclass(slots=True)
class Refused:
    """The request has ended with this failure, and none of it runs."""

    request: Request
    failure: Failure


@dataclass(slots=True)
class Deliver:
    """Hand this message to the request's actor."""

    request_id: int
    payload: Message | Input


@dataclass(slots=True)
class Wake:
    """The request has room again."""

    request_id: int


@dataclass(slots=True)
class Close:
    """Close the connection."""

    code: int
    reason: str


Effect: TypeAlias = Start | Stop | Refused | Deliver | Wake | Close

CANCELLED: Final = Failure(Code.CANCELLED, "the request was cancelled")
DEADLINE: Final = Failure(Code.DEADLINE_EXCEEDED, "the request took longer than it may")
CRASHED: Final = Failure(Code.INTERNAL, "the service failed on this request")
UNKNOWN: Final = Failure(Code.UNIMPLEMENTED, "the service does not know this request")
DRAINING: Final = Failure(Code.UNAVAILABLE, "the service is shutting down", retryable=True)
TOO_MANY: Final = Failure(
    Code.RESOURCE_EXHAUSTED, "too many requests at once in this session", retryable=True
)


class _Open:
    """A request that has not ended."""

    __slots__ = ("held", "limit", "owed", "sent")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.sent = 0
        self.held: Notice | None = None
        self.owed: dict[str, Message] | None = None


class SessionMachine:
    """All that a session knows. Raises nothing but what `encode` raises."""

    def __init__(self, limits: SessionLimits, encode: Encode, *, initial_credit: int = 0) -> None:
        self.limits = limits
        self.last_request_id = 0
        self.sequence = 0
        self.draining = False
        self._encode = encode
        self._initial_credit = initial_credit or UNLIMITED
        self._open: dict[int, _Open] = {}
        self._ending: set[int] = set()
        self._blocked: set[int] = set()
        self._outbox: deque[bytes] = deque()
        self._outbox_bytes = 0
        self._outbox_limit = limits.outbox_bytes

    # -- what goes in ------------------------------------------------------------------------

    def receive(self, frame: Frame) -> list[Effect]:
        """Take a frame from the client."""
        match frame:
            case Request():
                return self._open_request(frame)
            case Cancel(request_id):
                return self.fail(request_id, CANCELLED)
            case Credit(request_id, limit):
                return self._raise_limit(request_id, limit)
            case Inform(request_id, payload):
                return [Deliver(request_id, payload)] if request_id in self._open else []
            case Ping(nonce):
                self._put(self._encode(0, 0, False, Pong(nonce)))
                return []
            case Ack():
                return []
            case Violation(code, reason):
                return [Close(code, reason)]

    def _open_request(self, request: Request) -> list[Effect]:
        request_id = request.request_id
        if request.payload is None and request_id <= self.last_request_id:
            return []
        if request_id == 0:
            return [Close(PROTOCOL_VIOLATION, "a request needs a request_id above 0")]
        if request_id <= self.last_request_id:
            return [Close(PROTOCOL_VIOLATION, "a request_id must be above all before it")]
        self.last_request_id = request_id
        refusal = self._refusal(request)
        if refusal is not None:
            self._say(request_id, refusal, end=True)
            return [Refused(request, refusal)]
        self._open[request_id] = _Open(self._initial_credit)
        return [Start(request)]

    def _refusal(self, request: Request) -> Failure | None:
        if request.payload is None:
            return UNKNOWN
        if isinstance(request.payload, Failure):
            return request.payload
        if self.draining:
            return DRAINING
        if len(self._open) + len(self._ending) >= self.limits.max_requests_in_flight:
            return TOO_MANY
        return None

    def _raise_limit(self, request_id: int, limit: int) -> list[Effect]:
        state = self._open.get(request_id)
        if state is None or limit <= state.limit or state.limit == UNLIMITED:
            return []
        state.limit = limit
        if state.held is not None:
            held, state.held = state.held, None
            self.notify(request_id, held)
        if request_id in self._blocked and self.has_room(request_id):
            self._blocked.discard(request_id)
            return [Wake(request_id)]
        return []

    def fail(self, request_id: int, failure: Failure) -> list[Effect]:
        """End the request from outside: cancelled, past its deadline, its backend lost."""
        return [Stop(request_id, failure)] if self.end(request_id, failure) else []

    def fail_all(self, failure: Failure) -> list[Effect]:
        """End every request that has not ended."""
        return [
            effect for request_id in list(self._open) for effect in self.fail(request_id, failure)
        ]

    def drain(self, reason: str, reconnect_after_ms: int) -> None:
        """Take no new requests, and tell the client."""
        if not self.draining:
            self.draining = True
            self._put(self._encode(0, 0, False, GoingAway(reason, reconnect_after_ms)))

    def gone(self, request_id: int) -> bool:
        """The request's actor is no more. True: it had not ended, so it has crashed."""
        crashed = self.end(request_id, CRASHED)
        self._ending.discard(request_id)
        return crashed

    # -- what a request says -----------------------------------------------------------------

    def notify(self, request_id: int, notice: Notice) -> None:
        """Send a notice when there is credit for it; of those that wait, the newest is kept."""
        state = self._open.get(request_id)
        if state is None:
            return
        if state.sent >= state.limit:
            discard = notice.discard + (state.held.discard if state.held is not None else 0)
            state.held = Notice(notice.message, discard)
            return
        self._say(request_id, notice)
        state.sent += 1

    def answer(self, request_id: int, payload: Message) -> bool:
        """Send one answer; True if there is room for the next. False too once it has ended."""
        state = self._open.get(request_id)
        if state is None:
            return False
        self._say(request_id, payload)
        state.sent += 1
        if state.sent < state.limit and self._outbox_bytes < self._outbox_limit:
            return True
        self._blocked.add(request_id)
        return False

    def grant(self, request_id: int, limit: int) -> None:
        """Say how many inputs the request takes in all. It needs no credit: it asks for more."""
        if request_id in self._open:
            self._say(request_id, Grant(limit))

    def owe(self, request_id: int, key: str, payload: Message) -> None:
        """Have `payload` sent before the request's end, unless it is paid before."""
        state = self._open.get(request_id)
        if state is not None:
            # Tried now, so that the end, whoever brings it, cannot fail on it.
            self._encode(request_id, self.sequence + 1, False, payload)
            if state.owed is None:
                state.owed = {}
            state.owed[key] = payload

    def pay(self, request_id: int, key: str) -> bool:
        """Strike out what is owed; False if nothing is, so that it is not said twice."""
        state = self._open.get(request_id)
        return bool(state and state.owed and state.owed.pop(key, None) is not None)

    def end(self, request_id: int, payload: Message | Failure | Completed) -> bool:
        """Send the request's last frame; False if that was done before."""
        state = self._open.get(request_id)
        if state is None:
            return False
        owed: list[Message | Notice] = list((state.owed or {}).values())
        if state.held is not None and state.held.discard:
            owed.insert(0, state.held)  # else the client would keep tokens that are void
        # Encoded first: if it cannot be, nothing has been said and the request is still open.
        last = self._encode(request_id, self.sequence + len(owed) + 1, True, payload)
        for closing in owed:
            self._say(request_id, closing)
        self.sequence += 1
        self._put(last)
        del self._open[request_id]
        self._blocked.discard(request_id)
        self._ending.add(request_id)
        return True

    def has_room(self, request_id: int) -> bool:
        """The request has credit, and the outbox room."""
        state = self._open.get(request_id)
        return (
            state is not None
            and state.sent < state.limit
            and self._outbox_bytes < self._outbox_limit
        )

    def block(self, request_id: int) -> bool:
        """Have a Wake when there is room; False if there never will be: the request has ended."""
        if request_id not in self._open:
            return False
        self._blocked.add(request_id)
        return True

    def _say(self, request_id: int, payload: Said, *, end: bool = False) -> None:
        encoded = self._encode(request_id, self.sequence + 1, end, payload)
        self.sequence += 1
        self._put(encoded)

    def _put(self, encoded: bytes) -> None:
        self._outbox.append(encoded)
        self._outbox_bytes += len(encoded)

    # -- what goes out -----------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Requests that have not ended."""
        return len(self._open)

    @property
    def outbox_bytes(self) -> int:
        """Bytes that wait for the socket."""
        return self._outbox_bytes

    def take(self, at_most: int) -> list[bytes]:
        """Remove frames from the outbox, in order: `at_most` bytes, or one longer frame."""
        outbox, room = self._outbox, at_most
        taken: list[bytes] = []
        while outbox and (room >= len(outbox[0]) or not taken):
            frame = outbox.popleft()
            room -= len(frame)
            taken.append(frame)
        self._outbox_bytes -= at_most - room
        return taken

    def unblocked(self) -> list[Effect]:
        """The requests that waited and have room now."""
        if not self._blocked or self._outbox_bytes > self._outbox_limit // 2:
            return []
        woken = [request_id for request_id in self._blocked if self.has_room(request_id)]
        self._blocked.difference_update(woken)
        return [Wake(request_id) for request_id in woken]
