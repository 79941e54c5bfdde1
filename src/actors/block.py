"""Answers that were encoded together, in one piece.

A module of its own, which is never compiled: mypyc has no subclasses of builtin types.
"""

from collections.abc import Iterable
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
