"""The send queue: encoded answers that the connection has not taken yet.

An answer is encoded once, and its bytes move on to the replay buffer unchanged. Answers that were
encoded together form one piece, a Block, which is split only if a boundary falls inside it. Frames
that belong to no request (a Pong, a GoingAway) go ahead of the answers and are dropped with the
connection.
"""

from typing import Final

from actors.protocol.block import Block, count_of, move
from actors.protocol.connection import NO_CONNECTION, Connection
from actors.protocol.encoding import Encoded
from actors.protocol.replay_buffer import ReplayBuffer

FEW: Final = 16
"""More answers than this, taken at once, are joined into one piece, which is cheaper to drop."""


class SendQueue:
    """Answers in order, each with the next sequence number: 1, 2, 3, ... without a gap.

    sequence: the highest number given so far. waiting, size: the pieces that wait, and their bytes.
    `AnswerStream` appends to `waiting` directly (`put` inlined: every token passes there).
    room_size, room_until: while `size` and `sequence` are below these, streams need not ask
    `FlowControl`, which sets both.
    """

    __slots__ = (
        "_aside", "_in_pieces", "connection", "more", "numbering", "room_size", "room_until",
        "sequence", "size", "urgent", "waiting",
    )  # fmt: skip

    def __init__(self) -> None:
        self.sequence: int = 0
        self.waiting: list[bytes] = []
        self.size: int = 0
        self.room_size: int = 0
        self.room_until: int = 0
        self.connection: Connection = NO_CONNECTION
        """Woken when the first answer is queued, and for each frame without a sequence number."""
        self.urgent: bool = False
        """True if pending answers must not be delayed for batching."""
        self.more: bool = False
        """True if the last `take` left something behind."""
        self.numbering: bool = False
        """True while a batch is being numbered: nothing else can be queued before `add_all`."""
        self._in_pieces = False
        """True if some of what waits may be a Block."""
        # Nearly always None. Lists, not deques: three deques would cost an idle session 2 KiB.
        self._aside: list[bytes] | None = None

    # -- in ----------------------------------------------------------------------------------

    def put(self, answer: bytes) -> bool:
        """Queue an answer; return whether there is room for more without asking FlowControl."""
        sequence = self.sequence = self.sequence + 1
        self.urgent = True
        waiting = self.waiting
        if not waiting:
            self.connection.wake()
        waiting.append(answer)
        size = self.size = self.size + len(answer)
        return size < self.room_size and sequence < self.room_until

    def add_all(self, encoded: Encoded) -> None:
        """Queue answers that were encoded with the next sequence numbers."""
        pieces, lengths = encoded.pieces, encoded.lengths
        if not lengths:
            return
        self.urgent = True
        if not self.waiting:
            self.connection.wake()
        if len(pieces) == len(lengths):  # each is a frame
            self.waiting.extend(pieces)
            self.size += sum(lengths)
        else:
            block = Block.of(pieces, lengths)
            self.waiting.append(block)
            self.size += len(block)
            self._in_pieces = True
        self.sequence += len(lengths)

    def add_aside(self, frame: bytes) -> None:
        """Queue a frame that has no sequence number."""
        self.urgent = True
        if self._aside is None:
            self._aside = []
        self._aside.append(frame)
        self.connection.wake()

    def drop_aside(self) -> None:
        """Drop the frames without a sequence number, whose connection has ended."""
        self._aside = None

    def put_back(self, answers: list[bytes]) -> None:
        """Queue answers that were taken before, ahead of all others."""
        self.urgent = True
        self.waiting[:0] = answers
        self.size += sum(map(len, answers))
        self._in_pieces = True

    # -- out ---------------------------------------------------------------------------------

    @property
    def has_some(self) -> bool:
        """Return whether anything is queued."""
        return bool(self.waiting or self._aside)

    @property
    def aside(self) -> int:
        """Return how many frames without a sequence number are queued."""
        return len(self._aside or ())

    def take(self, at_most: int, replay: ReplayBuffer) -> list[bytes]:
        """Remove and return up to `at_most` bytes, or one longer frame; answers move to `replay`.

        A piece is a frame, or several that were encoded together.
        """
        if self._aside or self.size > at_most:
            taken = self._take_some(at_most, replay)
            self.more = self.urgent = self.has_some
        else:  # the usual case: take everything
            taken = self.waiting
            # A test's encoding may make frames of a type other than bytes, all of the same type.
            if len(taken) > FEW and not self._in_pieces and type(taken[0]) is bytes:
                taken = [Block.of(taken, list(map(len, taken)))]
            replay.kept += taken  # ReplayBuffer.keep inlined
            replay.size += self.size
            replay.last = self.sequence
            self.waiting, self.size = [], 0
            self.more = self.urgent = self._in_pieces = False
        return taken

    def _take_some(self, at_most: int, replay: ReplayBuffer) -> list[bytes]:
        taken: list[bytes] = []
        aside = self._aside or []
        room = move(aside, taken, at_most)
        if aside:
            return taken
        self._aside = None
        waiting, before = self.waiting, len(taken)
        room = move(waiting, taken, room)
        first = waiting[0] if waiting else None
        if isinstance(first, Block):
            count = first.fitting(room) or (0 if taken else 1)
            if count:
                part, waiting[0] = first.cut(count)
                taken.append(part)
        moved = taken[before:]
        size = sum(map(len, moved))
        replay.keep(moved, size, replay.last + sum(map(count_of, moved)))
        self.size -= size
        return taken
