"""The interface through which a session encodes its messages; it knows no wire format itself."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Protocol, TypeAlias

from actors.protocol.failure import Failure
from actors.protocol.frames import Completed, GoingAway, Grant, Message, Notice, Pong

Said: TypeAlias = Message | Failure | Notice | Grant | Completed | Pong | GoingAway
"""Everything that a session can send."""

Encode: TypeAlias = Callable[[int, int, bool, Said], bytes]
"""(request_id, sequence, end, message) -> the bytes of one frame. Raises TypeError."""


class Encoded:
    """Consecutive answers being encoded: the pieces of their frames, and each frame's length.

    The pieces are as many for each frame, or a single one for all.
    """

    __slots__ = ("lengths", "pieces")

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.lengths: list[int] = []

    def cut_at(self, most: int) -> int | None:
        """Drop the first frame longer than `most` bytes and all after it; return its length.

        Returns None if there is no such frame.
        """
        if not self.lengths or (len(self.pieces) == 1 and len(self.pieces[0]) <= most):
            return None
        if max(self.lengths) <= most:
            return None
        index = next(i for i, length in enumerate(self.lengths) if length > most)
        length = self.lengths[index]
        pieces = len(self.pieces) // len(self.lengths)
        if pieces:
            del self.pieces[index * pieces :]
        else:  # all are one
            self.pieces = [self.pieces[0][: sum(self.lengths[:index])]]
        del self.lengths[index:]
        return length


class StreamEncoder(Protocol):
    """Encodes the answers of one request, except its end; sequence numbers must increase."""

    def encode(self, sequence: int, answer: Message) -> bytes:
        """Return one encoded frame. Raises TypeError for anything that is not a message."""

    def encode_all(
        self, sequence: int, answers: Iterator[Message], encoded: Encoded, at_most: int, size: int
    ) -> bool:
        """Encode consecutive answers, the first with number `sequence`, into the empty `encoded`.

        Stops after `at_most` answers, and after the one that reaches `size` bytes. Returns True if
        `answers` has no more. Raises TypeError, and what `answers` raises; the answers before that
        are in `encoded`.
        """


EncodeStream: TypeAlias = Callable[[int], StreamEncoder]
"""request_id -> the encoder of its answers."""


class OneByOne:
    """A StreamEncoder built from an Encode function."""

    def __init__(self, encode: Encode, request_id: int) -> None:
        self._request_id = request_id
        self._encode = encode

    def encode(self, sequence: int, answer: Message) -> bytes:
        """Return one encoded frame."""
        return self._encode(self._request_id, sequence, False, answer)

    def encode_all(
        self, sequence: int, answers: Iterator[Message], encoded: Encoded, at_most: int, size: int
    ) -> bool:
        """Encode consecutive answers one at a time."""
        for number, answer in enumerate(islice(answers, at_most), sequence):
            frame = self.encode(number, answer)
            encoded.pieces.append(frame)
            encoded.lengths.append(len(frame))
            size -= len(frame)
            if size <= 0:
                return False
        return len(encoded.lengths) < at_most
