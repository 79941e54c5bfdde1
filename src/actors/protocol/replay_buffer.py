"""The replay buffer: answers that a connection has taken and that the client may request again.

    sequence:  … gone │ first ─── kept ─── last │ ─── in the send queue ─── …
                      ▲ acknowledged or, if the client does not acknowledge, dropped for newer ones

It holds the same bytes as the send queue did. Answers that were encoded together stay together in a
Block, which is split only if a boundary falls inside it.
"""

from itertools import accumulate, chain, takewhile

from actors.protocol.block import Block, count_of, lengths_of


class ReplayBuffer:
    """Answers in order, without a gap, from just after `acknowledged` up to `last`.

    acknowledged: the highest sequence number that is no longer held. last: the highest that is
    held. size: bytes held.
    """

    __slots__ = ("acknowledged", "kept", "last", "size")

    def __init__(self) -> None:
        self.acknowledged: int = 0
        self.last: int = 0
        self.size: int = 0
        # A list: a deque would cost an idle session 700 bytes more.
        self.kept: list[bytes] = []

    def keep(self, taken: list[bytes], size: int, last: int) -> None:
        """Append pieces of `size` bytes in total; `last` is the last sequence number in them."""
        self.kept += taken
        self.size += size
        self.last = last

    def acknowledge(self, sequence: int) -> bool:
        """Drop the answers up to this sequence number; return False if none of them is held."""
        if self.acknowledged < sequence <= self.last:
            self.let_go(sequence - self.acknowledged)
            return True
        return False

    def let_go_of_bytes(self, excess: int) -> bool:
        """Drop the oldest answers, at least `excess` bytes of them.

        Returns False, dropping nothing, if `excess` is not positive.
        """
        if excess <= 0:
            return False
        lengths = chain.from_iterable(map(lengths_of, self.kept))
        before = takewhile(lambda total: total < excess, accumulate(lengths))
        self.let_go(min(sum(1 for _ in before) + 1, self.last - self.acknowledged))
        return True

    def let_go(self, count: int) -> None:
        """Drop exactly the `count` oldest answers, which must be held."""
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
        """Remove and return all answers after this number; return None if some are not held."""
        if not self.acknowledged <= after <= self.last:
            return None
        self.acknowledge(after)
        kept, self.kept = self.kept, []
        self.size, self.last = 0, after
        return kept
