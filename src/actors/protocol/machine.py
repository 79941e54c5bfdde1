"""The session protocol as a state machine without I/O.

The rules, from which the rest follows:

1. A request id must be greater than all ids received before; anything else is a violation (4500).
2. Each received id ends exactly once, and nothing follows its end, whatever the timing.
3. Answers carry consecutive sequence numbers: 1, 2, 3, ... without a gap.
4. Pending closings (of open asks) are sent before the end.
5. A request has no room at the limit of its credit or while the output is full; ends are exempt.
6. All of this outlives the connection: a resume replays every unhandled answer, or is refused.

Frames and facts go in and effects come out; the `encode` function that is passed in produces the
bytes. `actors.protocol.answer_stream` contains a request's sending side and its states.
"""

from collections.abc import Container
from functools import partial
from typing import Final, Generic, Protocol, TypeVar

from actors.protocol.answer_stream import UNLIMITED, AnswerStream, too_large
from actors.protocol.close_codes import CloseCode
from actors.protocol.connection import NO_CONNECTION, Connection
from actors.protocol.effects import (
    CANCELLED,
    CRASHED,
    HOLDS_TOO_MUCH,
    TOO_MANY,
    UNKNOWN,
    UNREAD,
    Close,
    Deliver,
    Effect,
    EndedBy,
    Limit,
    Refused,
    Stop,
    Wake,
    WakeMore,
    draining,
)
from actors.protocol.encoding import Encode, EncodeStream, OneByOne
from actors.protocol.endless import EndlessShare, EndlessStream
from actors.protocol.failure import Failure
from actors.protocol.flow_control import CLOSE, ROOM
from actors.protocol.frames import (
    Ack,
    Cancel,
    Completed,
    Credit,
    GoingAway,
    Inform,
    Input,
    Message,
    Ping,
    Pong,
    Request,
    Signal,
)
from actors.protocol.limits import Gate, SessionLimits
from actors.protocol.memory import Account, Budget
from actors.protocol.output import Output

LARGE: Final = 32 * 1024
"""Bytes above which an end waits for room, as the answers of a stream do."""

BEYOND: Final = 16
"""Requests that a session may have in flight beyond its limit, of types that are exempt from it."""

WOKEN: Final = 4
"""Requests that are woken at once; each may send hundreds of answers before it waits again."""

ABUSIVE: Final = Close(CloseCode.ABUSE, "far more messages than the limits allow")


class InFlight(Protocol):
    """A request in flight, as the machine sees it."""

    request_id: int
    size: int
    """Bytes of its frame, which are counted as held."""
    stream: AnswerStream
    """Set by `SessionMachine.open`."""

    def grants(self, number: int) -> bool:
        """Return whether an input is within the credit and new on this connection."""

    def reconnected(self) -> None:
        """Note that the session has another connection."""


R = TypeVar("R", bound=InFlight)


class SessionMachine(Generic[R]):
    """The complete state of a session. R: what the session keeps for a request in flight.

    beyond_limit: the types of request that are admitted at the limit on requests in flight, up to
    BEYOND more of them.

    Methods raise what `encode` raises, and Failure for an answer that exceeds the largest frame.
    """

    def __init__(
        self,
        limits: SessionLimits,
        encode: Encode,
        encode_stream: EncodeStream | None = None,
        budget: Budget | None = None,
        beyond_limit: Container[type[Message]] = frozenset(),
    ) -> None:
        # In the order of use: an instance stores attributes in the order they are first set.
        self.last_request_id: int = 0
        self.account: Account = Account(limits.max_session_bytes, budget or Budget(2**62))
        self.output: Output = Output(limits, self.account)
        """What is to be sent, read by whoever carries it; only the machine adds to it."""
        self._flow = self.output.flow
        self._going: GoingAway | None = None
        self.requests: dict[int, R] = {}
        """The session's only table of requests in flight."""
        self._most = limits.max_requests_in_flight
        self._beyond_limit = beyond_limit
        self._gate = Gate(limits)
        self._meter = self._gate.requests
        self._encode = encode
        self._encode_stream = encode_stream or partial(OneByOne, encode)
        self._initial_limit = UNLIMITED
        self._share: EndlessShare | None = None
        """Made with the first endless request."""

    # -- connections come and go -------------------------------------------------------------

    def attach(
        self, *, initial_credit: int, acknowledges: bool, connection: Connection = NO_CONNECTION
    ) -> list[Effect]:
        """Attach a connection. initial_credit: the credit of new requests; 0 means no limit."""
        self.output.attach(connection, acknowledges=acknowledges)
        for request in self.requests.values():
            request.reconnected()
        self._initial_limit = initial_credit or UNLIMITED
        if self._going is not None:
            self.output.put_aside(self._encode(0, 0, False, self._going))
        return self.unblocked()

    def resume(self, last_sequence: int) -> bool:
        """Queue every answer after this one for the connection that is attached next.

        Returns False, changing nothing, if some of them are no longer held or were never sent.
        """
        return self.output.resume(last_sequence)

    def detach(self) -> None:
        """Continue without a connection: requests run on until the buffer is full."""
        self.output.detach()

    # -- what goes in ------------------------------------------------------------------------

    def receive(self, frame: Signal, size: int, now: float) -> list[Effect]:
        """Handle a frame of `size` bytes from the client; `now` is in seconds."""
        if not self._is_granted_input(frame) and not self._gate.frames.draw(size, now):
            return [ABUSIVE]
        match frame:
            case Cancel(request_id):
                return self.fail(request_id, CANCELLED, EndedBy.CLIENT)
            case Credit(request_id, limit):
                return self._raise_limit(request_id, limit)
            case Inform(request_id, payload, about):
                return [Deliver(request_id, payload, about)] if self.is_open(request_id) else []
            case Ping(nonce):
                self.output.put_aside(self._encode(0, 0, False, Pong(nonce)))
                return self._check_reader()
            case Ack(sequence):
                self.output.acknowledge(sequence)
                return self.unblocked()
            case _:
                return [Close(frame.code, frame.reason)]

    def _is_granted_input(self, frame: Signal) -> bool:
        """Return whether a frame is an input within its request's credit, which is its only limit.

        Each number counts once per connection, because inputs are sent again after a resume. Other
        repetitions are metered like any frame.
        """
        if not (isinstance(frame, Inform) and isinstance(frame.payload, Input)):
            return False
        request = self.requests.get(frame.request_id)
        return request is not None and request.grants(frame.payload.number)

    def admit(self, request: Request, size: int, now: float) -> list[Effect] | None:
        """Check a frame that opens a request. Returns None if the request is to be run.

        The caller must then call `open`, or `answer_at_once` if the end is already known. This is
        `_refusal` inlined: every request passes here.
        """
        request_id, payload, flow = request.request_id, request.payload, self._flow
        queue, account = self.output.queue, self.account
        held = queue.size + self.output.replay.size + account.input_bytes
        if (
            request_id > self.last_request_id
            and payload is not None
            and not isinstance(payload, Failure)
            and self._going is None
            and (
                (
                    queue.size < queue.room_size
                    and queue.sequence < queue.room_until
                    and held + size < account.high
                )
                or (not flow.refuses() and flow.has_room_for(size))
            )
            and len(self.requests) < self._most
            and self._meter.draw(size, now)
        ):
            self.last_request_id = request_id
            return None
        return self._refuse(request, size, now)

    def open(self, request: R, *, endless: bool = False) -> None:
        """Put an admitted request in flight until `gone` is called, and set its answer stream.

        endless: a drain ends the request at once, and its answers share a part of the replay buffer
        with those of all other endless requests (`actors.protocol.endless`).
        """
        request_id = request.request_id
        limit, encode, encode_stream = self._initial_limit, self._encode, self._encode_stream
        if endless:
            self._share = self._share or EndlessShare(self.output)
            request.stream = EndlessStream(
                request_id, limit, encode, encode_stream, self.output, self._share
            )
        else:
            request.stream = AnswerStream(request_id, limit, encode, encode_stream, self.output)
        self.requests[request_id] = request
        account, output = self.account, self.output
        account.input_bytes += request.size  # FlowControl.count_input inlined
        held = output.queue.size + output.replay.size + account.input_bytes
        if not account.low <= held < account.high:
            self._flow.count_bytes()

    def answer_at_once(self, request_id: int, payload: Message | Failure | Completed) -> None:
        """End the request that was just admitted or refused: `open`, `end` and `gone` in one."""
        queue, flow = self.output.queue, self._flow
        last = self._encode(request_id, queue.sequence + 1, True, payload)
        if len(last) > flow.most:
            payload = too_large(len(last), flow.most)
            last = self._encode(request_id, queue.sequence + 1, True, payload)
        flow.filled = not queue.put(last) and flow.verdict() is not ROOM

    def _refuse(self, request: Request, size: int, now: float) -> list[Effect] | None:
        """Refuse a request that `admit` did not let through; it is metered like any other frame.

        Returns None for one that is admitted beyond the limit on requests in flight.
        """
        if not self._gate.frames.draw(size, now):
            return [ABUSIVE]
        request_id = request.request_id
        if request_id <= self.last_request_id:
            return self._out_of_order(request)
        self.last_request_id = request_id
        refusal = self._refusal(request.payload, size)
        if refusal is None and self._meter.draw(size, now):
            return None
        failure, limit = refusal or self._gate.refusal(size, now)
        self.answer_at_once(request_id, failure)
        return [Refused(request, failure, limit), *self._check_reader()]

    def _out_of_order(self, request: Request) -> list[Effect]:
        if request.payload is None:
            return []
        if request.request_id == 0:
            return [Close(CloseCode.PROTOCOL_VIOLATION, "a request needs a request_id above 0")]
        return [Close(CloseCode.PROTOCOL_VIOLATION, "a request_id must be above all earlier ones")]

    def _refusal(
        self, payload: Message | Failure | None, size: int
    ) -> tuple[Failure, Limit | None] | None:
        """Return why the request is not run, or None; rates are not checked here."""
        if payload is None:
            return UNKNOWN, None
        if isinstance(payload, Failure):
            return payload, None
        if self._going is not None:
            return draining(self._going.reconnect_after_ms), None
        if self._flow.refuses():
            return UNREAD, Limit.UNREAD
        if not self._flow.has_room_for(size):
            return HOLDS_TOO_MUCH, Limit.MEMORY
        beyond = len(self.requests) - self._most
        if beyond >= 0 and not (beyond < BEYOND and type(payload) in self._beyond_limit):
            return TOO_MANY, Limit.IN_FLIGHT
        return None

    def _check_reader(self) -> list[Effect]:
        """Return a Close if too many frames are unsent; nothing else limits refusals and pongs."""
        if self._flow.verdict() is CLOSE:
            return [Close(CloseCode.SLOW_CONSUMER, "too many answers are unread")]
        return []

    def _raise_limit(self, request_id: int, limit: int) -> list[Effect]:
        request = self.requests.get(request_id)
        if request is None:
            return []
        stream = request.stream
        if stream.over or limit <= stream.limit or stream.limit == UNLIMITED:
            return []
        stream.limit = limit
        if request_id in self._flow.blocked and stream.has_room_after_notice():
            self._flow.blocked.pop(request_id, None)
            return [Wake(request_id)]
        return []

    def fail(
        self, request_id: int, failure: Failure, by: EndedBy = EndedBy.SERVICE
    ) -> list[Effect]:
        """End the request from outside: cancelled, past its deadline, or its backend lost."""
        request = self.requests.get(request_id)
        if request is None or not request.stream.end(failure):
            return []
        return [Stop(request_id, failure, by)]

    def fail_all(self, failure: Failure, by: EndedBy = EndedBy.SERVICE) -> list[Effect]:
        """End every request that has not ended."""
        return [
            effect
            for request_id in list(self.requests)
            for effect in self.fail(request_id, failure, by)
        ]

    def drain(self, reason: str, reconnect_after_ms: int) -> list[Effect]:
        """Refuse new requests from now on, tell the client, and end the endless requests."""
        if self._going is not None:
            return []
        self._going = GoingAway(reason, reconnect_after_ms)
        self.output.put_aside(self._encode(0, 0, False, self._going))
        failure = draining(reconnect_after_ms)
        return [
            effect
            for request in list(self.requests.values())
            if isinstance(request.stream, EndlessStream)
            for effect in self.fail(request.request_id, failure)
        ]

    def gone(self, request: R) -> bool:
        """Remove a request whose actor is gone; return whether it crashed (had not ended)."""
        del self.requests[request.request_id]
        self._flow.count_input(-request.size)
        return request.stream.end(CRASHED)

    def is_open(self, request_id: int) -> bool:
        """Return whether the request is in flight and has not ended."""
        request = self.requests.get(request_id)
        return request is not None and not request.stream.over

    # -- memory ------------------------------------------------------------------------------

    def crowded(self, payload: Message | Failure | Completed) -> bool:
        """Return whether an end is so large that it must wait, and there is no room for it yet."""
        queue = self.output.queue
        return (
            queue.size >= queue.room_size
            and not isinstance(payload, (Failure, Completed))
            and self._flow.verdict() is not ROOM
            and payload.ByteSize() > LARGE
        )

    # -- what goes out -----------------------------------------------------------------------

    @property
    def unacknowledged(self) -> bool:
        """Return whether the buffer is full of what a connected client should acknowledge."""
        return self._flow.lacks_ack()

    @property
    def in_flight(self) -> int:
        """The number of requests that have not ended."""
        return sum(not request.stream.over for request in self.requests.values())

    def unblocked(self) -> list[Effect]:
        """Return a Wake for requests that have room now, the longest-waiting first.

        These are WOKEN at most, and a WakeMore if others wait: the room is soon full again.
        """
        flow = self._flow
        if not flow.blocked:
            flow.awaited = False
            return []
        if not flow.may_go_on():
            return []
        effects: list[Effect] = []
        for request_id in list(flow.blocked):
            if self.requests[request_id].stream.has_room_after_notice():
                if len(effects) == WOKEN:
                    effects.append(WakeMore())
                    break
                del flow.blocked[request_id]
                effects.append(Wake(request_id))
        return effects
