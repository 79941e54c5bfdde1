"""The session protocol as a state machine without I/O.

Rules, from which the rest follows:

1. A request id is above all that were received before; one that is not is a violation (4500).
2. Each id received ends exactly once, and nothing comes after its end, whatever races.
3. An answer has the next sequence number: 1, 2, 3, ... without a gap.
4. What is owed (the closing of an ask) goes out before the end.
5. At the limit of its credit, or with the output full, a request has no room; its end always has.
6. All of it outlives the connection: a resume has every answer that was not handled, or none.

States of a request, by what happens:

    state    | answer | end, cancel, deadline | actor gone
    ---------+--------+-----------------------+-------------------
    OPEN     | OPEN   | ENDING                | (INTERNAL) gone
    ENDING   | ignored| ENDING                | gone

One that is answered at once, in the turn that admits it, goes through none of them.
A request that is ENDING has sent its end; its actor is still cleaning up and counts as in flight.
Frames and facts go in, effects come out; bytes come from the `encode` that was handed in.
"""

from collections.abc import Iterator
from functools import partial
from typing import Final

from actors.protocol.answer_stream import UNLIMITED, AnswerStream, too_large
from actors.protocol.connection import NO_CONNECTION, Connection
from actors.protocol.effects import (
    ABUSE,
    CANCELLED,
    CRASHED,
    HOLDS_TOO_MUCH,
    PROTOCOL_VIOLATION,
    SLOW_CONSUMER,
    TOO_MANY,
    UNKNOWN,
    UNREAD,
    Close,
    Deliver,
    Effect,
    Limit,
    Refused,
    Stop,
    Wake,
    draining,
)
from actors.protocol.encoding import Encode, EncodeStream, OneByOne, Said
from actors.protocol.failure import Failure
from actors.protocol.frames import (
    Ack,
    Cancel,
    Completed,
    Credit,
    GoingAway,
    Grant,
    Inform,
    Message,
    Notice,
    Ping,
    Pong,
    Request,
    Signal,
)
from actors.protocol.limits import Gate, SessionLimits
from actors.protocol.memory import STEP, Account, Budget
from actors.protocol.output import Output

LARGE: Final = 32 * 1024
"""Bytes of an end that waits for room, as the answers of a stream do."""

ABUSIVE: Final = Close(ABUSE, "far more messages than the limits allow")


class SessionMachine:
    """All that a session knows.

    Raises what `encode` raises, and Failure for an answer that is larger than a frame may be.
    """

    def __init__(
        self,
        limits: SessionLimits,
        encode: Encode,
        encode_stream: EncodeStream | None = None,
        budget: Budget | None = None,
    ) -> None:
        # In the order of use: an instance keeps attributes in the order of their first setting.
        self.last_request_id: int = 0
        self.account: Account = Account(limits.max_session_bytes, budget or Budget(2**62))
        self.output: Output = Output(limits, self.account)
        """What goes out, for who carries it; the machine alone puts something in."""
        self._going: GoingAway | None = None
        self._size = limits.resume_buffer_bytes
        self._requests: dict[int, AnswerStream | None] = {}
        """Those in flight; None: ENDING."""
        self._most = limits.max_requests_in_flight
        self._gate = Gate(limits)
        self._meter = self._gate.requests
        self._encode = encode
        self.filled: bool = False
        """The end that was said last has filled the output."""
        self._encode_stream = encode_stream or partial(OneByOne, encode)
        self._new = AnswerStream(0, UNLIMITED, None, self.output)

    # -- connections come and go -------------------------------------------------------------

    def attach(
        self, *, initial_credit: int, acknowledges: bool, connection: Connection = NO_CONNECTION
    ) -> list[Effect]:
        """A connection is there. initial_credit 0: new requests have no limit."""
        self.output.attach(connection, acknowledges=acknowledges)
        limit = initial_credit or UNLIMITED
        self._new = AnswerStream(0, limit, None, self.output)
        if self._going is not None:
            self.output.add_aside(self._encode(0, 0, False, self._going))
        return self.unblocked()

    def resume(self, last_sequence: int) -> bool:
        """Have every answer after this one sent again, by the connection that is attached next.

        False: not all of them are there any more (or some never were), and nothing has changed.
        """
        return self.output.resume(last_sequence)

    def detach(self) -> None:
        """No connection is there: requests go on until the buffer is full."""
        self.output.detach()

    # -- what goes in ------------------------------------------------------------------------

    def receive(self, frame: Signal, size: int, now: float) -> list[Effect]:
        """Take a frame of so many bytes from the client, at this time in seconds."""
        if not self._gate.frames.draw(size, now):
            return [ABUSIVE]
        match frame:
            case Cancel(request_id):
                return self.fail(request_id, CANCELLED)
            case Credit(request_id, limit):
                return self._raise_limit(request_id, limit)
            case Inform(request_id, payload, about):
                return [Deliver(request_id, payload, about)] if self.is_open(request_id) else []
            case Ping(nonce):
                self.output.add_aside(self._encode(0, 0, False, Pong(nonce)))
                return self._check_reader()
            case Ack(sequence):
                self.output.acknowledge(sequence)
                return self.unblocked()
            case _:
                return [Close(frame.code, frame.reason)]

    def admit(self, request: Request, size: int, now: float) -> list[Effect] | None:
        """Take a frame that opens a request. None: it is to be run, and nothing else to be done.

        What comes next is `open`; or `answer_at_once`, where its end is known already.
        This is `_refusal` inlined: every request passes here.
        """
        request_id, payload, output = request.request_id, request.payload, self.output
        held = output.waiting_bytes + output.kept_bytes
        if (
            request_id > self.last_request_id
            and payload is not None
            and not isinstance(payload, Failure)
            and self._going is None
            and (
                (held < self._size and held + self.account.input_bytes + size < self.account.high)
                or (not output.swamped() and output.has_room_for(size))
            )
            and len(self._requests) < self._most
            and self._meter.draw(size, now)
        ):
            self.last_request_id = request_id
            return None
        return self._refuse(request, size, now)

    def open(self, request_id: int) -> None:
        """Have the request that was admitted last in flight, until it is `gone`."""
        self._requests[request_id] = self._new

    def answer_at_once(self, request_id: int, payload: Message | Failure | Completed) -> None:
        """End the request that was admitted or refused last: `open`, `end` and `gone` in one."""
        output = self.output
        last = self._encode(request_id, output.sequence + 1, True, payload)
        if len(last) > output.most:
            payload = too_large(len(last), output.most)
            last = self._encode(request_id, output.sequence + 1, True, payload)
        self.filled = not output.put(last)

    def _refuse(self, request: Request, size: int, now: float) -> list[Effect]:
        """What `admit` does not run; it counts as any other frame does."""
        if not self._gate.frames.draw(size, now):
            return [ABUSIVE]
        request_id = request.request_id
        if request_id <= self.last_request_id:
            return self._out_of_order(request)
        self.last_request_id = request_id
        failure, limit = self._refusal(request.payload, size) or self._gate.refusal(size, now)
        self.answer_at_once(request_id, failure)
        return [Refused(request, failure, limit), *self._check_reader()]

    def _out_of_order(self, request: Request) -> list[Effect]:
        if request.payload is None:
            return []
        if request.request_id == 0:
            return [Close(PROTOCOL_VIOLATION, "a request needs a request_id above 0")]
        return [Close(PROTOCOL_VIOLATION, "a request_id must be above all before it")]

    def _refusal(
        self, payload: Message | Failure | None, size: int
    ) -> tuple[Failure, Limit | None] | None:
        """Why the request is not run, whatever the rates allow."""
        if payload is None:
            return UNKNOWN, None
        if isinstance(payload, Failure):
            return payload, None
        if self._going is not None:
            return draining(self._going.reconnect_after_ms), None
        if self.output.swamped():
            return UNREAD, Limit.UNREAD
        if not self.output.has_room_for(size):
            return HOLDS_TOO_MUCH, Limit.MEMORY
        if len(self._requests) >= self._most:
            return TOO_MANY, Limit.IN_FLIGHT
        return None

    def _check_reader(self) -> list[Effect]:
        """Nothing limits refusals and pongs but this: who has them pile up is no reader."""
        if self.output.flooded():
            return [Close(SLOW_CONSUMER, "too many answers are unread")]
        return []

    def _raise_limit(self, request_id: int, limit: int) -> list[Effect]:
        known = self._requests.get(request_id)
        if known is None or limit <= known.limit or known.limit == UNLIMITED:
            return []
        state = self.stream(request_id)
        assert state is not None, "it is known"
        state.limit = limit
        if request_id in self.output.blocked and self._has_room_after_notice(request_id):
            self.output.blocked.pop(request_id, None)
            return [Wake(request_id)]
        return []

    def _has_room_after_notice(self, request_id: int) -> bool:
        state = self._requests[request_id]
        assert state is not None, "who waits is open"
        if state.held is not None and state.has_room():
            held, state.held = state.held, None
            self.notify(request_id, held)
        return state.has_room()

    def fail(self, request_id: int, failure: Failure) -> list[Effect]:
        """End the request from outside: cancelled, past its deadline, its backend lost."""
        return [Stop(request_id, failure)] if self.end(request_id, failure) else []

    def fail_all(self, failure: Failure) -> list[Effect]:
        """End every request that has not ended."""
        return [
            effect
            for request_id in list(self._requests)
            for effect in self.fail(request_id, failure)
        ]

    def drain(self, reason: str, reconnect_after_ms: int) -> None:
        """Take no new requests, and tell the client."""
        if self._going is None:
            self._going = GoingAway(reason, reconnect_after_ms)
            self.output.add_aside(self._encode(0, 0, False, self._going))

    def gone(self, request_id: int) -> bool:
        """The request's actor is no more. True: it had not ended, so it has crashed."""
        stream = self._requests.pop(request_id, None)
        if stream is None:  # nearly always
            return False
        self._requests[request_id] = stream
        self.end(request_id, CRASHED)
        del self._requests[request_id]
        return True

    # -- what a request says -----------------------------------------------------------------

    def notify(self, request_id: int, notice: Notice) -> None:
        """Send a notice when there is room for it; of those that wait, the newest is kept."""
        state = self.stream(request_id)
        if state is None:
            return
        if self.output.numbering or not state.has_room():
            discard = notice.discard + (state.held.discard if state.held is not None else 0)
            held = Notice(notice.message, discard)
            # Tried now, so that who makes room, or brings the end, cannot fail on it.
            self._encode(request_id, self.output.sequence + 1, False, held)
            state.held = held
            self.output.block(request_id)
            return
        self._say(request_id, notice)
        state.sent += 1

    def answer(self, request_id: int, payload: Message) -> bool:
        """Send one answer; True if there is room for the next. False too once it has ended."""
        stream = self.stream(request_id)
        return stream is not None and stream.answer(payload)

    def answer_all(self, request_id: int, answers: Iterator[Message], at_most: int) -> bool:
        """Send a batch (`AnswerStream.answer_all`). A notice of that moment comes after it."""
        stream = self.stream(request_id)
        if stream is None:
            return False
        try:
            return stream.answer_all(answers, at_most)
        finally:
            if stream.held is not None and self._has_room_after_notice(request_id):
                self.output.blocked.pop(request_id, None)

    def stream(self, request_id: int) -> AnswerStream | None:
        """The request's own stream, for all that it says but its end; None: it has ended."""
        stream = self._requests.get(request_id)
        if stream is not None and stream.encoder is None:
            encoder = self._encode_stream(request_id)
            stream = AnswerStream(request_id, stream.limit, encoder, self.output)
            self._requests[request_id] = stream
        return stream

    def is_open(self, request_id: int) -> bool:
        """The request has not ended."""
        return self._requests.get(request_id) is not None

    def grant(self, request_id: int, limit: int) -> None:
        """Say how many inputs the request takes in all. It needs no credit: it asks for more."""
        if self.is_open(request_id):
            self._say(request_id, Grant(limit))

    def add_closing(self, request_id: int, key: str, payload: Message) -> None:
        """Have `payload` sent before the request's end, unless it is paid before.

        Raises Failure if it is larger than a frame may be.
        """
        state = self.stream(request_id)
        if state is not None:
            # Tried now, so that the end, whoever brings it, cannot fail on it.
            closing = self._encode(request_id, self.output.sequence + 1, False, payload)
            if len(closing) > self.output.most:
                raise too_large(len(closing), self.output.most)
            if state.closings is None:
                state.closings = {}
            state.closings[key] = payload

    def has_closing(self, request_id: int, key: str) -> bool:
        """Return whether something is owed under this key."""
        state = self._requests.get(request_id)
        return bool(state and state.closings and key in state.closings)

    def take_closing(self, request_id: int, key: str) -> bool:
        """Strike out what is owed; False if nothing is, so that it is not said twice."""
        state = self._requests.get(request_id)
        return bool(state and state.closings and state.closings.pop(key, None) is not None)

    def end(self, request_id: int, payload: Message | Failure | Completed) -> bool:
        """Send the request's last frame; False if that was done before."""
        state = self._requests.get(request_id)
        if state is None:
            return False
        output = self.output
        if state.closings is None and state.held is None:
            last = self._encode(request_id, output.sequence + 1, True, payload)
            if len(last) > output.most:
                return self.end(request_id, too_large(len(last), output.most))
        else:
            last = self._settle(request_id, state, payload)
        self.filled = not output.put(last)
        if state.encoder is not None:
            state.over = True
        self._requests[request_id] = None
        if self.output.blocked:
            self.output.blocked.pop(request_id, None)
        return True

    def _settle(self, request_id: int, state: AnswerStream, payload: Said) -> bytes:
        """Say what is owed; the bytes of the end, which comes next."""
        owed: list[Message | Notice] = list((state.closings or {}).values())
        if state.held is not None and state.held.discard:
            owed.insert(0, state.held)  # else the client would keep tokens that are void
        # Encoded first: if it cannot be, nothing has been said and the request is still open.
        last = self._encode(request_id, self.output.sequence + len(owed) + 1, True, payload)
        if len(last) > self.output.most:
            payload = too_large(len(last), self.output.most)
            last = self._encode(request_id, self.output.sequence + len(owed) + 1, True, payload)
        for closing in owed:
            self._say(request_id, closing)
        return last

    def hold(self, size: int) -> bool:
        """Count so many bytes from the client as held; return False where there is no room."""
        if not self.output.has_room_for(size):
            return False
        self.account.input_bytes += size
        if size >= STEP:
            self.output.count_bytes()
        return True

    def release(self, size: int) -> None:
        """Give back what `hold` counted."""
        self.account.input_bytes -= size
        if size >= STEP:
            self.output.count_bytes()

    def crowded(self, payload: Message | Failure | Completed) -> bool:
        """Return whether an end is so large that it has to wait, and has no room yet."""
        return (
            not isinstance(payload, (Failure, Completed))
            and self.output.full()
            and payload.ByteSize() > LARGE
        )

    def lift_limit(self, request_id: int) -> None:
        """Let the request send what it has, whatever its credit: only its end is left."""
        state = self.stream(request_id)
        if state is not None:
            state.limit = UNLIMITED

    def has_room(self, request_id: int) -> bool:
        """The request has credit, and the outbox room."""
        state = self._requests.get(request_id)
        return state is not None and state.has_room()

    def block(self, request_id: int) -> bool:
        """Have a Wake when there is room; False if there never will be: the request has ended."""
        if not self.is_open(request_id):
            return False
        self.output.block(request_id)
        return True

    def _say(self, request_id: int, payload: Said) -> None:
        self.output.put(self._encode(request_id, self.output.sequence + 1, False, payload))

    # -- what goes out -----------------------------------------------------------------------

    @property
    def unacknowledged(self) -> bool:
        """The buffer is full of what a client that is there has not acknowledged."""
        output = self.output
        return output.is_full_size and output.unacknowledged()

    @property
    def in_flight(self) -> int:
        """Requests that have not ended."""
        return sum(state is not None for state in self._requests.values())

    def unblocked(self) -> list[Effect]:
        """The requests that waited and have room now."""
        if not self.output.blocked:
            self.output.awaited = False
            return []
        if not self.output.drained():
            return []
        woken = [
            request_id
            for request_id in list(self.output.blocked)
            if self._has_room_after_notice(request_id)
        ]
        for request_id in woken:
            del self.output.blocked[request_id]
        return [Wake(request_id) for request_id in woken]
