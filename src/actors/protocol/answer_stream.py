"""The sending side of a request: its credit, its pending closings and its end.

A request's states, by event:

    state    | answer  | end, cancel, deadline | actor gone
    ---------+---------+-----------------------+-----------------------
    OPEN     | OPEN    | ENDING                | ends as INTERNAL, gone
    ENDING   | ignored | ENDING                | gone

A request that is answered at once, in the turn that admits it, goes through none of these states. A
request that is ENDING has sent its end; its actor is still cleaning up and counts as in flight.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from actors.protocol.encoding import Encode, Encoded, EncodeStream, OneByOne, Said, StreamEncoder
from actors.protocol.failure import Code, Failure
from actors.protocol.flow_control import ROOM
from actors.protocol.frames import Completed, Grant, Message, Notice
from actors.protocol.limits import SessionLimits
from actors.protocol.output import Output

UNLIMITED: Final = 2**64
"""The credit of a request whose client does not want flow control."""


class AnswerStream:
    """The answers of one request in flight, all of which go to the session's send queue.

    Methods raise what encoding raises, and Failure for an answer that exceeds the largest frame.
    """

    __slots__ = (
        "_encode", "_encode_one", "_encode_stream", "_flow", "_queue", "closings", "encoder",
        "held", "limit", "over", "request_id", "sent",
    )  # fmt: skip

    def __init__(
        self,
        request_id: int,
        limit: int,
        encode: Encode,
        encode_stream: EncodeStream,
        output: Output,
    ) -> None:
        self.request_id: int = request_id
        self.limit: int = limit
        self._encode_one = encode
        self._encode_stream = encode_stream
        self._queue = output.queue
        self._flow = output.flow
        self.encoder: StreamEncoder | None = None
        """Created with the first answer, since most requests end with their first message."""
        self._encode: Callable[[int, Message], bytes] = _encode_nothing
        self.sent: int = 0
        self.over: bool = False
        """True once the request is ENDING."""
        self.held: Notice | None = None
        """The newest notice that is waiting for room."""
        self.closings: dict[str, Message] | None = None
        """The pending closings by key, which are sent before the end."""

    # -- answers -----------------------------------------------------------------------------

    def answer(self, answer: Message) -> bool:
        """Send an answer; return whether the request goes on and has room for the next."""
        if self.encoder is None and not self.over:
            self._begin()
        return self._answer_within_limit(answer)

    def _answer_within_limit(self, answer: Message) -> bool:
        """Send an answer and count it against the credit."""
        if self.over:
            return False
        has_room = self._answer(answer)
        sent = self.sent = self.sent + 1
        if sent < self.limit:
            return has_room
        self._flow.block(self.request_id)
        return False

    @property
    def answers(self) -> Callable[[Message], bool]:
        """Return the function to send all later answers with: like `answer`, in fewer steps."""
        if self.encoder is None:
            return self.answer
        return self._answer if self.limit == UNLIMITED else self._answer_within_limit

    def _begin(self) -> StreamEncoder:
        """Create the encoder, which reuses what the answers of a stream have in common."""
        encoder = self.encoder = self._encode_stream(self.request_id)
        self._encode = encoder.encode
        return encoder

    def _answer(self, answer: Message) -> bool:
        """Send an answer regardless of credit. `SendQueue.put` inlined: every token passes here."""
        if self.over:
            return False
        queue = self._queue
        sequence = queue.sequence + 1
        frame = self._encode(sequence, answer)
        queue.sequence = sequence
        waiting = queue.waiting
        if not waiting:
            queue.connection.wake()
        waiting.append(frame)
        size = queue.size = queue.size + len(frame)
        if size < queue.room_size and sequence < queue.room_until:
            return True
        flow = self._flow
        if len(frame) > flow.most:
            waiting.pop()
            queue.sequence -= 1
            queue.size -= len(frame)
            raise too_large(len(frame), flow.most)
        if flow.verdict() is ROOM:
            return True
        flow.block(self.request_id)
        return False

    def answer_all(self, answers: Iterator[Message], at_most: int) -> bool:
        """Send a batch while there is room; return whether all of it was sent.

        Sends at most `at_most` answers. An exception from `answers` propagates after the answers
        before it have been sent. A notice that arrives meanwhile is sent after them.
        """
        if self.over:
            return False
        encoder = self._begin() if self.encoder is None else self.encoder
        try:
            return self._answer_all(encoder, answers, at_most)
        finally:
            if self.held is not None and self.has_room_after_notice():
                self._flow.blocked.pop(self.request_id, None)

    def _answer_all(self, encoder: StreamEncoder, answers: Iterator[Message], at_most: int) -> bool:
        queue, flow = self._queue, self._flow
        room, size = self._room()
        at_most = min(at_most, room, self.limit - self.sent)
        if at_most <= 0 or size <= 0:
            return False
        encoded = Encoded()
        queue.numbering = True
        too_long: int | None = None
        try:
            all_sent = encoder.encode_all(queue.sequence + 1, answers, encoded, at_most, size)
        finally:
            queue.numbering = False
            too_long = encoded.cut_at(flow.most)
            queue.add_all(encoded)
            self.sent += len(encoded.lengths)
        if too_long is not None:
            raise too_large(too_long, flow.most)
        return all_sent

    def notify(self, notice: Notice) -> None:
        """Send a notice once there is room for it; if several wait, only the newest is kept."""
        if self.over:
            return
        if self._queue.numbering or not self.has_room():
            discard = notice.discard + (self.held.discard if self.held is not None else 0)
            held = Notice(notice.message, discard)
            # Encode it now, so that sending it later cannot fail.
            self._encode_next(held)
            self.held = held
            self._flow.block(self.request_id)
            return
        self._say(notice)
        self.sent += 1

    def grant(self, limit: int) -> None:
        """Tell the client how many inputs the request takes in total. This needs no credit."""
        if not self.over:
            self._say(Grant(limit))

    # -- room --------------------------------------------------------------------------------

    def has_room(self) -> bool:
        """Return whether the credit and the send queue have room for one more answer."""
        return not self.over and self.sent < self.limit and self._flow.verdict() is ROOM

    def _room(self) -> tuple[int, int]:
        """Return how many more answers, and bytes of them, fit, apart from the credit."""
        return self._flow.room()

    def has_room_after_notice(self) -> bool:
        """Send the waiting notice if there is room; return whether there is still room."""
        if self.held is not None and self.has_room():
            held, self.held = self.held, None
            self.notify(held)
        return self.has_room()

    def block(self) -> bool:
        """Request a Wake once there is room; return False if the request has ended."""
        if self.over:
            return False
        self._flow.block(self.request_id)
        return True

    def lift_limit(self) -> None:
        """Ignore the credit from now on: only the end is left to send."""
        if not self.over:
            self.limit = UNLIMITED

    # -- pending closings --------------------------------------------------------------------

    def add_closing(self, key: str, closing: Message) -> None:
        """Send `closing` before the end, unless it is withdrawn first.

        Raises Failure if it is larger than a frame may be.
        """
        if self.over:
            return
        # Encode it now, so that the end cannot fail on it.
        size = len(self._encode_next(closing))
        if size > self._flow.most:
            raise too_large(size, self._flow.most)
        if self.closings is None:
            self.closings = {}
        self.closings[key] = closing

    def has_closing(self, key: str) -> bool:
        """Return whether a closing is pending under this key."""
        return bool(self.closings and key in self.closings)

    def take_closing(self, key: str) -> bool:
        """Withdraw the pending closing, which is then not sent; return False if there is none."""
        return bool(self.closings and self.closings.pop(key, None) is not None)

    # -- the end -----------------------------------------------------------------------------

    def end(self, payload: Message | Failure | Completed) -> bool:
        """Send the final frame; return False if it has been sent before."""
        if self.over:
            return False
        queue, flow = self._queue, self._flow
        if self.closings is None and self.held is None:
            last = self._encode_one(self.request_id, queue.sequence + 1, True, payload)
            if len(last) > flow.most:
                return self.end(too_large(len(last), flow.most))
        else:
            last = self._settle(payload)
        flow.filled = not queue.put(last) and flow.verdict() is not ROOM
        self.over = True
        if flow.blocked:
            flow.blocked.pop(self.request_id, None)
        return True

    def _settle(self, payload: Said) -> bytes:
        """Send the pending closings; return the encoded end, which must be sent next."""
        owed: list[Message | Notice] = list((self.closings or {}).values())
        if self.held is not None and self.held.discard:
            owed.insert(0, self.held)  # otherwise the client would keep void tokens
        # Encode it first: if that fails, nothing has been sent and the request is still open.
        number = self._queue.sequence + len(owed) + 1
        last = self._encode_one(self.request_id, number, True, payload)
        if len(last) > self._flow.most:
            payload = too_large(len(last), self._flow.most)
            last = self._encode_one(self.request_id, number, True, payload)
        for closing in owed:
            self._say(closing)
        self.closings = self.held = None
        return last

    def _say(self, payload: Said) -> None:
        self._queue.put(self._encode_next(payload))

    def _encode_next(self, payload: Said) -> bytes:
        return self._encode_one(self.request_id, self._queue.sequence + 1, False, payload)


def too_large(size: int, most: int) -> Failure:
    """Return the failure that ends a request whose answer is larger than a frame may be."""
    return Failure(
        Code.RESOURCE_EXHAUSTED, f"an answer has {size} bytes, and a frame holds {most} at most"
    )


def _encode_nothing(*arguments: object) -> bytes:
    raise AssertionError(arguments)


def _encode_no_frame(*arguments: object) -> bytes:
    raise AssertionError(arguments)


NO_STREAM: Final = AnswerStream(
    0, 0, _encode_no_frame, partial(OneByOne, _encode_no_frame), Output(SessionLimits())
)
"""The stream of a request that is not in flight. It is over, so its methods do nothing."""

NO_STREAM.over = True
