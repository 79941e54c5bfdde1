"""Several answers that were encoded together, as one bytes object.

An optimization; docs/adr/0022 gives the reasons.
"""

from collections.abc import Iterable, Iterator
from itertools import accumulate, takewhile


class Block(bytes):
    """The frames of several consecutive answers, and the length of each."""

    lengths: list[int]

    @classmethod
    def of(cls, frames: Iterable[bytes], lengths: list[int]) -> "Block":
        """Join frames, or pieces of frames, into one block."""
        block = cls(b"".join(frames))
        block.lengths = lengths
        return block

    def fitting(self, room: int) -> int:
        """Return how many of its first frames fit into `room` bytes."""
        return sum(1 for _ in takewhile(lambda total: total <= room, accumulate(self.lengths)))

    def cut(self, count: int) -> "tuple[Block, Block]":
        """Split the block into its first `count` frames and the rest."""
        first, others = self.lengths[:count], self.lengths[count:]
        at = sum(first)
        return Block.of((self[:at],), first), Block.of((self[at:],), others)


def frames(taken: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the individual frames of the pieces that were taken."""
    for piece in taken:
        at = 0
        for length in lengths_of(piece):
            yield piece[at : at + length] if length < len(piece) else piece
            at += length


def move(source: list[bytes], target: list[bytes], room: int) -> int:
    """Move pieces from the front while they fit into `room` bytes; return the room that is left.

    If `target` is empty, one single-frame piece is moved even if it is longer.
    """
    moved = 0
    for piece in source:
        if len(piece) > room and (target or count_of(piece) > 1):
            break
        target.append(piece)
        room -= len(piece)
        moved += 1
    del source[:moved]
    return room


def count_of(answer: bytes) -> int:
    """Return how many frames a piece has."""
    return len(answer.lengths) if isinstance(answer, Block) else 1


def lengths_of(answer: bytes) -> Iterable[int]:
    """Return the length of each frame in a piece."""
    return answer.lengths if isinstance(answer, Block) else (len(answer),)
