"""The send queue: encoded answers that the connection has not taken yet.

An answer is encoded once, and its bytes go on to the replay buffer as they are. Answers that were
encoded together are one piece, a Block, which is cut only where a border falls into it. Frames that
belong to no request (a Pong, a GoingAway) go ahead of the answers and end with the connection.
"""

from typing import Final

from actors.protocol.block import Block, count_of, move
from actors.protocol.connection import NO_CONNECTION, Connection
from actors.protocol.encoding import Encoded
from actors.protocol.replay_buffer import ReplayBuffer

FEW: Final = 16
"""More answers than these, handed out at once, are kept in one piece: letting go costs less."""


class SendQueue:
    """Answers in order, each with the next sequence number in it: 1, 2, 3, ... without a gap.

    sequence: the highest number that was given. waiting, size: the pieces that wait, and their
    bytes. `AnswerStream` appends to it without a call (`put` inlined: every token passes there).
    room_size, room_until: while `size` is below the one and `sequence` below the other, streams
    need not ask `FlowControl`, which sets both.
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
        """Woken when the first answer waits, and for each frame that goes aside."""
        self.urgent: bool = False
        """True if pending answers must not be delayed for batching."""
        self.more: bool = False
        """What was taken last was not all."""
        self.numbering: bool = False
        """Answers in a row are being given numbers: nothing else can be said before `add_all`."""
        self._in_pieces = False
        """Some of what waits may be a Block."""
        # None nearly always. Lists: three deques take 2 KiB of an idle session.
        self._aside: list[bytes] | None = None

    # -- in ----------------------------------------------------------------------------------

    def put(self, answer: bytes) -> bool:
        """Take an answer; return whether there is room for more without asking FlowControl."""
        sequence = self.sequence = self.sequence + 1
        self.urgent = True
        waiting = self.waiting
        if not waiting:
            self.connection.wake()
        waiting.append(answer)
        size = self.size = self.size + len(answer)
        return size < self.room_size and sequence < self.room_until

    def add_all(self, encoded: Encoded) -> None:
        """Take answers that have been given the next sequence numbers."""
        pieces, lengths = encoded.pieces, encoded.lengths
        if not lengths:
            return
        self.urgent = True
        if not self.waiting:
            self.connection.wake()
        if len(pieces) == len(lengths):  # each is a frame
            self.waiting.extend(pieces)
        else:
            self.waiting.append(Block.of(pieces, lengths))
            self._in_pieces = True
        self.sequence += len(lengths)
        self.size += sum(lengths)

    def add_aside(self, frame: bytes) -> None:
        """Take a frame that has no sequence."""
        self.urgent = True
        if self._aside is None:
            self._aside = []
        self._aside.append(frame)
        self.connection.wake()

    def drop_aside(self) -> None:
        """Drop the frames that have no sequence: the connection that they were for has ended."""
        self._aside = None

    def put_back(self, answers: list[bytes]) -> None:
        """Take answers that were taken before, which come first."""
        self.urgent = True
        self.waiting[:0] = answers
        self.size += sum(map(len, answers))
        self._in_pieces = True

    # -- out ---------------------------------------------------------------------------------

    @property
    def has_some(self) -> bool:
        """Return whether something waits."""
        return bool(self.waiting or self._aside)

    @property
    def aside(self) -> int:
        """Return how many frames without a sequence wait."""
        return len(self._aside or ())

    def take(self, at_most: int, replay: ReplayBuffer) -> list[bytes]:
        """Remove `at_most` bytes, or one longer frame, and return them; answers go to `replay`.

        A piece is a frame, or several of them that were encoded together.
        """
        if self._aside or self.size > at_most:
            taken = self._take_some(at_most, replay)
            self.more = self.urgent = self.has_some
        else:  # nearly always: all of it
            taken = self.waiting
            # An encoding of a test's own makes frames of a type of its own, and they are all alike.
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
