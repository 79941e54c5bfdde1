"""Answers that were encoded together, in one piece.

An optimization; its reasons are in docs/adr/0022.
"""

from collections.abc import Iterable, Iterator
from itertools import accumulate, takewhile


class Block(bytes):
    """The frames of several answers in a row, and the length of each."""

    lengths: list[int]

    @classmethod
    def of(cls, frames: Iterable[bytes], lengths: list[int]) -> "Block":
        """These frames, or the pieces of them, in one."""
        block = cls(b"".join(frames))
        block.lengths = lengths
        return block

    def fitting(self, room: int) -> int:
        """How many of its first frames have no more bytes than this."""
        return sum(1 for _ in takewhile(lambda total: total <= room, accumulate(self.lengths)))

    def cut(self, count: int) -> "tuple[Block, Block]":
        """The first `count` frames, and the others."""
        first, others = self.lengths[:count], self.lengths[count:]
        at = sum(first)
        return Block.of((self[:at],), first), Block.of((self[at:],), others)


def frames(taken: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what was taken, frame by frame."""
    for piece in taken:
        at = 0
        for length in lengths_of(piece):
            yield piece[at : at + length] if length < len(piece) else piece
            at += length


def move(source: list[bytes], target: list[bytes], room: int) -> int:
    """Move what fits from the front, one longer piece at least; return the room that is left."""
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
