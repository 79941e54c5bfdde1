"""The sending side of a request: its credit, what it still owes, and its end.

States of a request, by what happens:

    state    | answer | end, cancel, deadline | actor gone
    ---------+--------+-----------------------+-------------------
    OPEN     | OPEN   | ENDING                | (INTERNAL) gone
    ENDING   | ignored| ENDING                | gone

One that is answered at once, in the turn that admits it, goes through none of them.
A request that is ENDING has sent its end; its actor is still cleaning up and counts as in flight.
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
"""The credit of a request whose client wants no flow control."""


class AnswerStream:
    """The answers of one request in flight, which holds it; all of them go to the send queue.

    Raises what encoding raises, and Failure for an answer that is larger than a frame may be.
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
        """Made with the first answer: most requests end with the first thing they say."""
        self._encode = _encode_nothing
        self.sent: int = 0
        self.over: bool = False
        """The request is ENDING."""
        self.held: Notice | None = None
        """The newest notice, which waits for room."""
        self.closings: dict[str, Message] | None = None
        """What is sent before the end, by key."""

    # -- answers -----------------------------------------------------------------------------

    def answer(self, answer: Message) -> bool:
        """Send one; return whether there is room for the next. False too once it has ended."""
        if self.encoder is None and not self.over:
            self._begin()
        return self._answer_within_limit(answer)

    def _answer_within_limit(self, answer: Message) -> bool:
        """Send one, and count it."""
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
        """Return what sends each answer after the first: `answer`, in fewer steps."""
        if self.encoder is None:
            return self.answer
        return self._answer if self.limit == UNLIMITED else self._answer_within_limit

    def _begin(self) -> StreamEncoder:
        """Make the encoder, which remembers what the answers of a stream share."""
        encoder = self.encoder = self._encode_stream(self.request_id)
        self._encode = encoder.encode
        return encoder

    def _answer(self, answer: Message) -> bool:
        """Send one, whatever the credit. `SendQueue.put` inlined: every token passes here."""
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
        """Send a batch while there is room, at most so many; return whether that was all.

        What `answers` raises comes through, after those before it have been sent. A notice of that
        moment comes after them.
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
        room, size = flow.room()
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
        """Send a notice when there is room for it; of those that wait, the newest is kept."""
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
        """Say how many inputs the request takes in all. It needs no credit: it asks for more."""
        if not self.over:
            self._say(Grant(limit))

    # -- room --------------------------------------------------------------------------------

    def has_room(self) -> bool:
        """Return whether one more answer may be sent: by the credit, and by the send queue."""
        return not self.over and self.sent < self.limit and self._flow.verdict() is ROOM

    def has_room_after_notice(self) -> bool:
        """Send the notice that waits, if there is room; return whether there is still some."""
        if self.held is not None and self.has_room():
            held, self.held = self.held, None
            self.notify(held)
        return self.has_room()

    def block(self) -> bool:
        """Ask for a Wake when there is room; return False if the request has ended."""
        if self.over:
            return False
        self._flow.block(self.request_id)
        return True

    def lift_limit(self) -> None:
        """Send what there is whatever the credit: only the end is left."""
        if not self.over:
            self.limit = UNLIMITED

    # -- what is owed before the end ---------------------------------------------------------

    def add_closing(self, key: str, closing: Message) -> None:
        """Have `closing` sent before the end, unless it is taken back before.

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
        """Return whether something is to be sent under this key."""
        return bool(self.closings and key in self.closings)

    def take_closing(self, key: str) -> bool:
        """Take back what is to be sent; return False if nothing is: it is not said twice."""
        return bool(self.closings and self.closings.pop(key, None) is not None)

    # -- the end -----------------------------------------------------------------------------

    def end(self, payload: Message | Failure | Completed) -> bool:
        """Send the last frame; return False if that was done before."""
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
        """Send what is owed; return the bytes of the end, which comes next."""
        owed: list[Message | Notice] = list((self.closings or {}).values())
        if self.held is not None and self.held.discard:
            owed.insert(0, self.held)  # else the client would keep tokens that are void
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
    """Return what a request ends with whose answer is larger than a frame may be."""
    return Failure(
        Code.RESOURCE_EXHAUSTED, f"an answer has {size} bytes, and a frame holds {most} at most"
    )


def _encode_nothing(sequence: int, answer: Message) -> bytes:
    raise AssertionError(answer)


def _encode_no_frame(request_id: int, sequence: int, end: bool, said: Said) -> bytes:
    raise AssertionError(said)


NO_STREAM: Final = AnswerStream(
    0, 0, _encode_no_frame, partial(OneByOne, _encode_no_frame), Output(SessionLimits())
)
"""The stream of a request that is not in flight: it is over, so its methods do nothing."""

NO_STREAM.over = True
