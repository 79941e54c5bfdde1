"""What a session needs of whoever turns its words into bytes; it knows none of them itself."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Protocol, TypeAlias

from actors.protocol.failure import Failure
from actors.protocol.frames import Completed, GoingAway, Grant, Message, Notice, Pong

Said: TypeAlias = Message | Failure | Notice | Grant | Completed | Pong | GoingAway
"""What a session can say."""

Encode: TypeAlias = Callable[[int, int, bool, Said], bytes]
"""request_id, sequence, end, what is said -> the bytes of one frame. Raises TypeError."""


class Encoded:
    """Answers in a row that are being encoded: the pieces of their frames, each frame's length."""

    __slots__ = ("lengths", "pieces")

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.lengths: list[int] = []

    def cut_at(self, most: int) -> int | None:
        """Drop the first frame of more than `most` bytes and all after it; return its length.

        None: there is no such frame.
        """
        if not self.lengths or max(self.lengths) <= most:
            return None
        index = next(i for i, length in enumerate(self.lengths) if length > most)
        length = self.lengths[index]
        pieces = len(self.pieces) // len(self.lengths)
        del self.pieces[index * pieces :], self.lengths[index:]
        return length


class StreamEncoder(Protocol):
    """Encodes the answers of one request, all but its end, whose sequence numbers only grow."""

    def encode(self, sequence: int, answer: Message) -> bytes:
        """One frame. Raises TypeError for what is no message."""

    def encode_all(
        self, sequence: int, answers: Iterator[Message], encoded: Encoded, at_most: int, size: int
    ) -> bool:
        """Answers in a row, the first with this sequence number, into `encoded`, which is empty.

        Stops after `at_most` answers and at the one that reaches `size` bytes. True: there are no
        more. Raises TypeError, and what `answers` raises; those before it are in `encoded`.
        """


EncodeStream: TypeAlias = Callable[[int], StreamEncoder]
"""request_id -> what encodes its answers."""


class OneByOne:
    """A StreamEncoder that has an Encode only."""

    def __init__(self, encode: Encode, request_id: int) -> None:
        self._request_id = request_id
        self._encode = encode

    def encode(self, sequence: int, answer: Message) -> bytes:
        """One frame."""
        return self._encode(self._request_id, sequence, False, answer)

    def encode_all(
        self, sequence: int, answers: Iterator[Message], encoded: Encoded, at_most: int, size: int
    ) -> bool:
        """Answers in a row."""
        for number, answer in enumerate(islice(answers, at_most), sequence):
            frame = self.encode(number, answer)
            encoded.pieces.append(frame)
            encoded.lengths.append(len(frame))
            size -= len(frame)
            if size <= 0:
                return False
        return len(encoded.lengths) < at_most
