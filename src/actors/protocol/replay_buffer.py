"""The replay buffer: answers that a connection has taken and the client may ask for again.

    sequence:  … gone │ first ─── kept ─── last │ ─── in the send queue ─── …
                      ▲ acknowledged or, where the client does not acknowledge, replaced

It holds the bytes that the send queue held. Answers that were encoded together stay together, in a
Block, which is cut only where a border falls into it.
"""

from itertools import accumulate, chain, takewhile

from actors.protocol.block import Block, count_of, lengths_of


class ReplayBuffer:
    """Answers in order, without a gap; `acknowledged` and `last` are the borders.

    acknowledged: the highest sequence that is held no more. last: the highest that is held here.
    size: bytes.
    """

    __slots__ = ("acknowledged", "kept", "last", "size")

    def __init__(self) -> None:
        self.acknowledged: int = 0
        self.last: int = 0
        self.size: int = 0
        # A list: a deque takes 700 bytes more of an idle session.
        self.kept: list[bytes] = []

    def keep(self, taken: list[bytes], size: int, last: int) -> None:
        """Keep what follows: pieces of so many bytes in all, up to this sequence."""
        self.kept += taken
        self.size += size
        self.last = last

    def acknowledge(self, sequence: int) -> bool:
        """Let go of the answers up to this one; return False if it acknowledges nothing here."""
        if self.acknowledged < sequence <= self.last:
            self.let_go(sequence - self.acknowledged)
            return True
        return False

    def let_go_of_bytes(self, excess: int) -> bool:
        """Let go of the oldest, at least so many bytes; return False if that is none."""
        if excess <= 0:
            return False
        lengths = chain.from_iterable(map(lengths_of, self.kept))
        before = takewhile(lambda total: total < excess, accumulate(lengths))
        self.let_go(min(sum(1 for _ in before) + 1, self.last - self.acknowledged))
        return True

    def let_go(self, count: int) -> None:
        """Let go of the oldest, exactly so many, which must be there."""
        kept, gone = self.kept, 0
        self.acknowledged += count
        for answer in kept:
            frames = count_of(answer)
            if frames > count:
                break
            count -= frames
            gone += 1
            self.size -= len(answer)
        del kept[:gone]
        if count:
            block = kept[0]
            assert isinstance(block, Block)
            part, kept[0] = block.cut(count)
            self.size -= len(part)

    def take_back(self, after: int) -> list[bytes] | None:
        """Remove all answers after this sequence and return them; None if some are not here."""
        if not self.acknowledged <= after <= self.last:
            return None
        self.acknowledge(after)
        kept, self.kept = self.kept, []
        self.size, self.last = 0, after
        return kept
