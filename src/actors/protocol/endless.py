"""Endless streams: their answer stream, and the share of the replay buffer that they may fill.

An endless stream (`AnyHandler.endless`) follows something for as long as its client likes, so a
drain does not wait for it, and its client may be slow for hours. All endless streams of a session
together hold at most a quarter of the replay buffer's limits in the send queue, in messages and in
bytes. Beyond that they wait, and the other streams of the session go on. Answers that were sent are
not counted: a client that acknowledges may do so only at half of the buffer, so it would never
acknowledge a quarter. While the client is away, endless streams have no room at all.

As with every limit on room, a stream may send one answer that it was making when the share was
used up, and the end of a request needs no room. What a resume queues again is not counted a second
time.
"""

from collections import deque
from collections.abc import Iterator
from typing import Final

from actors.protocol.answer_stream import AnswerStream
from actors.protocol.encoding import Encode, EncodeStream, Said, StreamEncoder
from actors.protocol.frames import Message
from actors.protocol.output import Output

PART: Final = 4
"""All endless streams of a session together may queue one part in four of its replay buffer."""


class EndlessShare:
    """Counts the answers of a session's endless streams for as long as they are queued."""

    __slots__ = ("_answers", "_most_answers", "_most_size", "_output", "_pieces", "_size")

    def __init__(self, output: Output) -> None:
        limits = output.flow.limits
        self._most_answers = max(limits.resume_buffer_messages // PART, 1)
        self._most_size = max(limits.resume_buffer_bytes // PART, 1)
        self._output = output
        self._pieces: deque[tuple[int, int, int]] = deque()
        """Of what was sent together: the last sequence number, the answers and their bytes."""
        self._answers = 0
        self._size = 0

    def mark(self) -> tuple[int, int]:
        """Return the end of the send queue, for `count_since`."""
        return self._output.queue.sequence, self._output.queue.size

    def count_since(self, mark: tuple[int, int]) -> None:
        """Count what was queued after `mark`, since when nothing can have been taken."""
        sequence, size = self.mark()
        answers, more = sequence - mark[0], size - mark[1]
        if answers:
            self._forget()
            self._pieces.append((sequence, answers, more))
            self._answers += answers
            self._size += more

    def _forget(self) -> None:
        """Stop counting what the connection has taken."""
        pieces, taken = self._pieces, self._output.replay.last
        while pieces and pieces[0][0] <= taken:
            _, answers, size = pieces.popleft()
            self._answers -= answers
            self._size -= size

    def room(self) -> tuple[int, int]:
        """Return how many more answers, and bytes of them, fit."""
        if not self._output.flow.connected:
            return 0, 0
        self._forget()
        return self._most_answers - self._answers, self._most_size - self._size

    def has_room(self) -> bool:
        """Return whether one more answer may be sent."""
        return min(self.room()) > 0


class EndlessStream(AnswerStream):
    """The answer stream of an endless request: it also waits for room in the session's share."""

    __slots__ = ("_share",)

    def __init__(
        self,
        request_id: int,
        limit: int,
        encode: Encode,
        encode_stream: EncodeStream,
        output: Output,
        share: EndlessShare,
    ) -> None:
        super().__init__(request_id, limit, encode, encode_stream, output)
        self._share = share

    def has_room(self) -> bool:
        """Return whether the credit, the send queue and the share have room for one more answer."""
        return super().has_room() and self._share.has_room()

    def _room(self) -> tuple[int, int]:
        answers, size = super()._room()
        of_share, size_of_share = self._share.room()
        return min(answers, of_share), min(size, size_of_share)

    def _answer(self, answer: Message) -> bool:
        mark = self._share.mark()
        has_room = super()._answer(answer)
        self._share.count_since(mark)
        if has_room and not self._share.has_room():
            self._flow.block(self.request_id)
            return False
        return has_room

    def _answer_all(self, encoder: StreamEncoder, answers: Iterator[Message], at_most: int) -> bool:
        mark = self._share.mark()
        try:
            return super()._answer_all(encoder, answers, at_most)
        finally:
            self._share.count_since(mark)

    def _say(self, payload: Said) -> None:
        mark = self._share.mark()
        super()._say(payload)
        self._share.count_since(mark)
