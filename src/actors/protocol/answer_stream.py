"""The sending side of a request: its credit, and the one step of an answer to the send queue."""

from collections.abc import Callable, Iterator
from typing import Final

from actors.protocol.encoding import Encoded, StreamEncoder
from actors.protocol.failure import Code, Failure
from actors.protocol.frames import Message, Notice
from actors.protocol.output import Output

UNLIMITED: Final = 2**64
"""The credit of a request whose client wants no flow control."""


class AnswerStream:
    """The answers of one request that has not ended.

    Requests that have sent nothing share one answer stream, whose `encoder` is None: most requests
    end with their first answer. In the shared stream only `limit` is valid, and nothing changes.
    """

    __slots__ = (
        "_encode",
        "_output",
        "_request_id",
        "closings",
        "encoder",
        "held",
        "limit",
        "over",
        "sent",
    )  # fmt: skip

    def __init__(
        self,
        request_id: int,
        limit: int,
        encoder: StreamEncoder | None,
        output: Output,
    ) -> None:
        self._request_id = request_id
        self._output = output
        self.encoder: StreamEncoder | None = encoder
        self._encode = _encode_nothing if encoder is None else encoder.encode
        self.limit: int = limit
        self.sent: int = 0
        self.over: bool = False
        """The request has ended."""
        self.held: Notice | None = None
        """The newest notice, which waits for room."""
        self.closings: dict[str, Message] | None = None
        """What is to be said before the end, by key."""

    def answer(self, answer: Message) -> bool:
        """Send one; True if there is room for the next. False too once the request has ended."""
        if self.over:
            return False
        has_room = self._answer(answer)
        sent = self.sent = self.sent + 1
        if sent < self.limit:
            return has_room
        self._output.block(self._request_id)
        return False

    @property
    def answers(self) -> Callable[[Message], bool]:
        """`answer`, in fewer steps where there is no limit."""
        return self._answer if self.limit == UNLIMITED else self.answer

    def _answer(self, answer: Message) -> bool:
        """Send one, whatever the credit; `Output.put`, written out: in the way of every token."""
        if self.over:
            return False
        output = self._output
        sequence = output.sequence + 1
        frame = self._encode(sequence, answer)
        output.sequence = sequence
        waiting = output.waiting
        if not waiting:
            output.connection.wake()
        waiting.append(frame)
        octets = output.waiting_bytes = output.waiting_bytes + len(frame)
        if octets < output.room_bytes and sequence < output.room_until:
            return True
        if len(frame) > output.most:
            waiting.pop()
            output.sequence -= 1
            output.waiting_bytes -= len(frame)
            raise too_large(len(frame), output.most)
        if not output.full():
            return True
        self._output.block(self._request_id)
        return False

    def answer_all(self, answers: Iterator[Message], at_most: int) -> bool:
        """Send answers while there are any and there is room, at most so many; True: that was all.

        What `answers` raises comes through, after those before it have been sent.
        """
        output, encoder = self._output, self.encoder
        room, size = output.room()
        at_most = min(at_most, room, self.limit - self.sent)
        if self.over or at_most <= 0 or size <= 0 or encoder is None:
            return False
        encoded = Encoded()
        output.numbering = True
        too_long: int | None = None
        try:
            all_sent = encoder.encode_all(output.sequence + 1, answers, encoded, at_most, size)
        finally:
            output.numbering = False
            too_long = encoded.cut_at(output.most)
            output.add_all(encoded)
            self.sent += len(encoded.lengths)
        if too_long is not None:
            raise too_large(too_long, output.most)
        return all_sent

    def has_room(self) -> bool:
        """The request has credit, and the outbox room."""
        return self.sent < self.limit and not self._output.full()


def too_large(size: int, most: int) -> Failure:
    """Return what a request ends with whose answer is larger than a frame may be."""
    return Failure(
        Code.RESOURCE_EXHAUSTED, f"an answer has {size} bytes, and a frame holds {most} at most"
    )


def _encode_nothing(sequence: int, answer: Message) -> bytes:
    raise AssertionError(answer)
