"""The answers of a session on their way out: what waits for the socket, what a replay needs.

    sequence:  … gone │ first ─── kept ─── │ ─── waiting ─── last
                      ▲ acknowledged or,   ▲ handed to the connection
                        where the client
                        does not, replaced

An answer is encoded once; both halves hold the same bytes. Answers that were encoded together stay
together, in a Block, which is cut only where a border falls into it. Frames that belong to no
request (a Pong, a GoingAway) go ahead of the answers and end with the connection.
"""

from collections.abc import Callable
from itertools import accumulate, chain, takewhile
from typing import Final

from actors.protocol.block import Block, count_of, lengths_of, move
from actors.protocol.connection import NO_CONNECTION, Connection
from actors.protocol.encoding import Encoded
from actors.protocol.limits import SessionLimits
from actors.protocol.memory import STEP, Account, Budget

FEW: Final = 16
"""More answers than these, handed out at once, are kept in one piece: letting go costs less."""

SEVERAL: Final = 8
"""So many answers of streams in one turn of the loop, and more are likely in the next."""

GATHERED: Final = 16 * 1024
"""Bytes that are not worth the wait for more."""

GATHERED_FOR: Final = 0.002
"""Seconds that answers wait for others to be written with, and what is left of a turn then."""


class Output:
    """Counts the sequence, and keeps answers in order. Says when there is no room for more.

    There is room while `outbox_bytes` are not waiting and, for a client that acknowledges, the
    replay buffer is not full; for one that does not, the oldest answers leave that buffer instead.
    """

    __slots__ = (
        "_allowed", "_aside", "_gathers_until", "_in_pieces", "_kept", "_looked", "_messages",
        "_outbox", "_size", "account", "acknowledged", "acknowledges", "awaited", "blocked",
        "connected", "connection", "filled", "handed_out", "kept_bytes", "more", "most",
        "numbering", "room_bytes", "room_until", "sequence", "urgent", "waiting", "waiting_bytes",
    )  # fmt: skip

    def __init__(self, limits: SessionLimits, account: Account | None = None) -> None:
        self.sequence: int = 0
        self.acknowledged: int = 0
        """The highest sequence that is held no more."""
        self.connected: bool = False
        self.acknowledges: bool = False
        self.waiting_bytes: int = 0
        self.kept_bytes: int = 0
        self.more: bool = False
        """What was taken last was not all."""
        self.numbering: bool = False
        """Answers in a row are being given numbers: nothing else can be said before `add_all`."""
        self.blocked: dict[int, None] = {}
        """Requests that wait for room; who waits longest goes on first."""
        self.awaited: bool = False
        """Somebody may be in `blocked`: asked at each write, and in the cache as that is not."""
        self.connection: Connection = NO_CONNECTION
        """Woken when the first answer waits, and for each frame that goes aside."""
        self.urgent: bool = False
        """True if pending answers must not be delayed for batching."""
        self.filled: bool = False
        """The end that was sent last has filled the send queue."""
        self._in_pieces = False
        """Some of what waits may be a Block."""
        self.handed_out: int = 0
        """The highest sequence that a connection has taken."""
        self._looked = 0
        self._gathers_until = 0.0
        # Lists: three deques take 2 KiB of an idle session. `_aside` is nearly always empty.
        self._aside: list[bytes] | None = None
        self.waiting: list[bytes] = []
        self._kept: list[bytes] = []
        self._messages = limits.resume_buffer_messages
        self._size = limits.resume_buffer_bytes
        self._outbox = limits.outbox_bytes
        self.account: Account = account or Account(limits.max_session_bytes, Budget(2**62))
        """What the session holds, these answers included."""
        self._allowed = limits.max_session_bytes
        """What the session may hold, as it was when that was counted last."""
        self.most: int = limits.max_answer_bytes
        """Bytes of the largest answer."""
        self.room_bytes: int = 0
        self.room_until: int = 0
        """While `waiting_bytes` is below the one and `sequence` below the other it is not full."""

    # -- in ----------------------------------------------------------------------------------

    def put(self, answer: bytes) -> bool:
        """Take an answer, with the next sequence number in it; True: there is room for more."""
        sequence = self.sequence = self.sequence + 1
        self.urgent = True
        waiting = self.waiting
        if not waiting:
            self.connection.wake()
        waiting.append(answer)
        octets = self.waiting_bytes = self.waiting_bytes + len(answer)
        return (octets < self.room_bytes and sequence < self.room_until) or not self.full()

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
        self.waiting_bytes += sum(lengths)

    def room(self) -> tuple[int, int]:
        """How many more answers, of how many bytes, before streams are to wait."""
        if self._is_miscounted:
            self.count_bytes()
        answers, size, used = self._messages - self.count, self._size - self.size, self.size
        if self.connected:
            used = self.waiting_bytes
            if not self.acknowledges:
                answers, size = self._messages - self._waiting_count, self._outbox
            size = min(size, self._outbox - used)
        return answers, min(size, self._allowed - used)

    def add_aside(self, frame: bytes) -> None:
        """Take a frame that has no sequence; without a connection it goes nowhere."""
        if self.connected:
            self.urgent = True
            if self._aside is None:
                self._aside = []
            self._aside.append(frame)
            self.connection.wake()

    # -- how full ----------------------------------------------------------------------------

    def block(self, request_id: int) -> None:
        """This request waits for room."""
        self.blocked[request_id] = None
        self.awaited = True

    @property
    def count(self) -> int:
        """Answers that are held."""
        return self.sequence - self.acknowledged

    @property
    def size(self) -> int:
        """Bytes of them."""
        return self.kept_bytes + self.waiting_bytes

    @property
    def has_some(self) -> bool:
        """Something waits for the socket."""
        return bool(self.waiting or self._aside)

    @property
    def unsent(self) -> int:
        """Frames that wait for the socket."""
        return self.sequence - self.handed_out + len(self._aside or ())

    @property
    def is_full_size(self) -> bool:
        """The buffer is full, whoever has to empty it."""
        return (
            self.sequence - self.acknowledged >= self._messages
            or self.kept_bytes + self.waiting_bytes >= self._size
        )

    def full(self) -> bool:
        """Streams are to wait."""
        if self._is_miscounted:
            self.count_bytes()
        if self.connected:
            most = min(self._outbox, self._allowed)
            if self.waiting_bytes >= most or self._waiting_count >= self._messages:
                return True
            if not self.acknowledges:
                return False
        elif self.size >= self._allowed:
            return True
        return self.is_full_size

    @property
    def _is_miscounted(self) -> bool:
        account = self.account
        held = self.waiting_bytes + self.kept_bytes + account.input_bytes
        return not account.low <= held < account.high

    def count_bytes(self) -> None:
        """Enter in the account what is held now, and keep less for a replay where that is too much.

        A client that acknowledges loses what it has not acknowledged too: it is no longer able to
        resume then, and gets a new session. Nobody else is to lose more for it.
        """
        self._allowed = self.account.count(self.size)
        if self.kept_bytes > self._allowed:
            self._shrink(self._allowed)
            self.account.count(self.size)
        self._measure()

    def has_room_for(self, more: int) -> bool:
        """Return whether the session may hold more bytes; what is kept for a replay makes room."""
        account, held = self.account, self.size + self.account.input_bytes
        if held + more < account.high or account.has_room(self.size, more):
            return True
        room = account.count(self.size) - account.input_bytes - more
        if self.waiting_bytes <= room < self.size:
            self._shrink(room)
        return account.has_room(self.size, more)

    def drained(self) -> bool:
        """Streams that waited may go on: the outbox is half empty, the buffer has room."""
        if self.connected and (
            self.waiting_bytes > self._outbox // 2 or self._waiting_count > self._messages // 2
        ):
            return False
        return not self.full()

    def unacknowledged(self) -> bool:
        """The buffer is full of what the client, which is there, should have acknowledged."""
        return self.connected and self.acknowledges and self.is_full_size

    def swamped(self) -> bool:
        """Twice the buffer waits unread: ends alone, which always find room, have come to that."""
        unread = self.waiting_bytes
        if self.acknowledges:
            unread += self.kept_bytes
        return unread >= 2 * self._size

    def flooded(self) -> bool:
        """More frames wait than requests in flight can end with: the client asks, never reads."""
        return self.unsent >= 4 * self._messages

    @property
    def _waiting_count(self) -> int:
        return self.sequence - self.handed_out

    # -- out ---------------------------------------------------------------------------------

    def gathers(self, now: Callable[[], float]) -> bool:
        """More is worth a wait of one turn of the loop. Asked at most once a turn.

        It is while the streams of the session say several answers in each turn, and nothing else
        waits: a write costs as much as ten answers. It ends after `GATHERED_FOR`, and at
        `GATHERED` bytes.
        """
        if self.urgent or self.waiting_bytes >= GATHERED:
            return False
        begins = self._looked <= self.handed_out
        said = self.sequence - (self.handed_out if begins else self._looked)
        self._looked = self.sequence
        if said < SEVERAL:
            return False
        if begins:
            self._gathers_until = now() + GATHERED_FOR
            return True
        return now() < self._gathers_until

    def take(self, at_most: int) -> list[bytes]:
        """What the connection is to send next: `at_most` bytes, or one longer frame.

        A piece of it is a frame, or several of them that were encoded together.
        """
        if self._aside or self.waiting_bytes > at_most:
            taken = self._take_some(at_most)
            self.more = self.urgent = self.has_some
        else:  # nearly always: all of it
            taken = self.waiting
            # An encoding of a test's own makes frames of a type of its own, and they are all alike.
            if len(taken) > FEW and not self._in_pieces and type(taken[0]) is bytes:
                taken = [Block.of(taken, list(map(len, taken)))]
            self._kept += taken
            self.kept_bytes += self.waiting_bytes
            self.waiting, self.waiting_bytes = [], 0
            self.handed_out = self.sequence
            self.more = self.urgent = self._in_pieces = False
        if self.acknowledges:
            room = self._size - self.kept_bytes
            if room < self.room_bytes:
                self.room_bytes = room
        elif self.connected:
            self._replace()
            self._measure()
        account = self.account
        held = self.kept_bytes + self.waiting_bytes + account.input_bytes
        if not account.low <= held < account.high:
            self.count_bytes()
        return taken

    def _measure(self) -> None:
        """Set how far answers may go on without a look at `full`."""
        if not self.connected:
            self.room_bytes = self.room_until = 0
        elif self.acknowledges:
            self.room_bytes = min(self._outbox, self._size - self.kept_bytes, self.most, STEP)
            self.room_until = self.acknowledged + self._messages
        else:
            self.room_bytes = min(self._outbox, self.most, STEP)
            self.room_until = self.handed_out + self._messages

    def _take_some(self, at_most: int) -> list[bytes]:
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
        self._kept += moved
        self.handed_out += sum(map(count_of, moved))
        octets = sum(map(len, moved))
        self.waiting_bytes -= octets
        self.kept_bytes += octets
        return taken

    def _replace(self) -> None:
        """Let go of the oldest that are too many, for a client that does not acknowledge."""
        over = min(self.count - self._messages, self.handed_out - self.acknowledged)
        if over > 0:
            self._let_go(over)
        self._shrink(self._size)

    def _shrink(self, size: int) -> None:
        """Let go of the oldest that are kept, until no more than so many bytes are held."""
        excess = self.size - size
        if excess > 0:
            lengths = chain.from_iterable(map(lengths_of, self._kept))
            before = takewhile(lambda total: total < excess, accumulate(lengths))
            kept = self.handed_out - self.acknowledged
            self._let_go(min(sum(1 for _ in before) + 1, kept))

    def acknowledge(self, sequence: int) -> None:
        """Let go of the answers up to this one. One that was never sent acknowledges nothing."""
        if self.acknowledged < sequence <= self.handed_out:
            self._let_go(sequence - self.acknowledged)

    def _let_go(self, count: int) -> None:
        """Forget the first answers that are kept, exactly so many."""
        kept, gone = self._kept, 0
        self.acknowledged += count
        for answer in kept:
            frames = count_of(answer)
            if frames > count:
                break
            count -= frames
            gone += 1
            self.kept_bytes -= len(answer)
        del kept[:gone]
        if count:
            block = kept[0]
            assert isinstance(block, Block)
            part, kept[0] = block.cut(count)
            self.kept_bytes -= len(part)
        if self.size + self.account.input_bytes < self.account.low:
            self._allowed = self.account.count(self.size)
        self._measure()

    def attach(self, connection: Connection, *, acknowledges: bool) -> None:
        """A connection is there, which is told that there is something to take."""
        self.detach()  # what was to go aside to the connection before is not for this one
        self.connected, self.acknowledges, self.connection = True, acknowledges, connection
        self._measure()

    def detach(self) -> None:
        """The connection is no more: what it was to carry aside goes with it."""
        self.connected, self.connection = False, NO_CONNECTION
        self._measure()
        self._aside = None

    def resume(self, after: int) -> bool:
        """Have every answer after this one sent again; False if that cannot be had whole."""
        if not self.acknowledged <= after <= self.handed_out:
            return False
        self.acknowledge(after)
        self.urgent = True
        self.waiting[:0] = self._kept
        self._in_pieces = True
        self.waiting_bytes += self.kept_bytes
        self.handed_out = after
        self._kept, self.kept_bytes = [], 0
        return True
