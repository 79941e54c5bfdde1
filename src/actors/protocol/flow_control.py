"""Flow control: whether a session has room, by what waits, what is kept, and what memory is left.

There is one question, `FlowControl.verdict`, and its answers, each of which includes the ones
before it:

    verdict | when                                                  | what follows
    --------+-------------------------------------------------------+---------------------------
    ROOM    |                                                       |
    WAIT    | `outbox_bytes` wait; the replay buffer is full, for a | streams wait; ends do not
            | client that acknowledges; memory is short             |
    REFUSE  | twice the replay buffer is unread                     | new requests are refused
    CLOSE   | more frames wait than requests can end with           | the connection is closed

For a client that does not acknowledge, the oldest answers leave the replay buffer instead.
"""

from enum import IntEnum
from typing import Final

from actors.protocol.limits import SessionLimits
from actors.protocol.memory import STEP, Account, Budget
from actors.protocol.replay_buffer import ReplayBuffer
from actors.protocol.send_queue import SendQueue

SWAMP: Final = 2
"""So many times the bytes of the replay buffer are too much unread to ask for more."""

FLOOD: Final = 4
"""So many times the answers of the replay buffer are more frames than a reader leaves unread."""


class Verdict(IntEnum):
    """How much room there is."""

    ROOM = 0
    WAIT = 1
    REFUSE = 2
    CLOSE = 3


ROOM: Final = Verdict.ROOM
WAIT: Final = Verdict.WAIT
REFUSE: Final = Verdict.REFUSE
CLOSE: Final = Verdict.CLOSE


class FlowControl:
    """Judges how full a session's send queue and replay buffer are."""

    __slots__ = (
        "_allowed", "_limits", "_queue", "_replay", "account", "acknowledges", "awaited",
        "blocked", "connected", "filled", "most",
    )  # fmt: skip

    def __init__(
        self,
        limits: SessionLimits,
        queue: SendQueue,
        replay: ReplayBuffer,
        account: Account | None,
    ) -> None:
        self._limits = limits
        self._queue = queue
        self._replay = replay
        self.connected: bool = False
        self.acknowledges: bool = False
        self.account: Account = account or Account(limits.max_session_bytes, Budget(2**62))
        """What the session holds, answers included."""
        self._allowed = limits.max_session_bytes
        """What the session may hold, as it was when that was counted last."""
        self.most: int = limits.max_answer_bytes
        """Bytes of the largest answer."""
        self.blocked: dict[int, None] = {}
        """Requests that wait for room, the one that has waited longest first."""
        self.awaited: bool = False
        """Some may be in `blocked`: asked at each write, and in the cache as that is not."""
        self.filled: bool = False
        """The end that was sent last has left no room."""

    # -- the verdict -------------------------------------------------------------------------

    def verdict(self) -> Verdict:
        """Return how much room there is, after counting what memory is held."""
        limits, queue, replay = self._limits, self._queue, self._replay
        if self._is_miscounted:
            self.count_bytes()
        if self.unsent >= FLOOD * limits.resume_buffer_messages:
            return CLOSE
        unread = queue.size + (replay.size if self.acknowledges else 0)
        if unread >= SWAMP * limits.resume_buffer_bytes:
            return REFUSE
        if self.connected:
            most = min(limits.outbox_bytes, self._allowed)
            unsent = queue.sequence - replay.last
            if queue.size >= most or unsent >= limits.resume_buffer_messages:
                return WAIT
            if not self.acknowledges:
                return ROOM
        elif self.size >= self._allowed:
            return WAIT
        return WAIT if self._is_full_size else ROOM

    @property
    def unsent(self) -> int:
        """Return how many frames wait for the connection."""
        return self._queue.sequence - self._replay.last + self._queue.aside

    @property
    def size(self) -> int:
        """Return the bytes of the answers that are held."""
        return self._replay.size + self._queue.size

    @property
    def _is_full_size(self) -> bool:
        """Return whether the buffer is full, whoever has to empty it."""
        limits, held = self._limits, self._queue.sequence - self._replay.acknowledged
        return held >= limits.resume_buffer_messages or self.size >= limits.resume_buffer_bytes

    def lacks_ack(self) -> bool:
        """Return whether the buffer is full of what a client that is there should acknowledge."""
        return self.connected and self.acknowledges and self._is_full_size

    def may_go_on(self) -> bool:
        """Return whether streams that waited may go on: with half the send queue free again."""
        limits, queue = self._limits, self._queue
        if self.connected and (
            queue.size > limits.outbox_bytes // 2
            or queue.sequence - self._replay.last > limits.resume_buffer_messages // 2
        ):
            return False
        return self.verdict() is ROOM

    def room(self) -> tuple[int, int]:
        """Return how many more answers, of how many bytes, fit before streams are to wait."""
        if self._is_miscounted:
            self.count_bytes()
        limits, queue, replay = self._limits, self._queue, self._replay
        answers = limits.resume_buffer_messages - (queue.sequence - replay.acknowledged)
        used = self.size
        size = limits.resume_buffer_bytes - used
        if self.connected:
            used = queue.size
            if not self.acknowledges:
                answers = limits.resume_buffer_messages - (queue.sequence - replay.last)
                size = limits.outbox_bytes
            size = min(size, limits.outbox_bytes - used)
        return answers, min(size, self._allowed - used)

    def block(self, request_id: int) -> None:
        """Note that this request waits for room."""
        self.blocked[request_id] = None
        self.awaited = True

    # -- memory ------------------------------------------------------------------------------

    @property
    def _is_miscounted(self) -> bool:
        account = self.account
        held = self._queue.size + self._replay.size + account.input_bytes
        return not account.low <= held < account.high

    def count_bytes(self) -> None:
        """Enter in the account what is held now, and keep less for a replay where that is too much.

        A client that acknowledges loses what it has not acknowledged too: it is no longer able to
        resume then, and gets a new session. Nobody else is to lose more for it.
        """
        self._allowed = self.account.count(self.size)
        if self._replay.size > self._allowed:
            self._shrink(self._allowed)
            self.account.count(self.size)
        self.measure()

    def has_room_for(self, more: int) -> bool:
        """Return whether the session may hold more bytes; what is kept for a replay makes room."""
        account, held = self.account, self.size + self.account.input_bytes
        if held + more < account.high or account.has_room(self.size, more):
            return True
        room = account.count(self.size) - account.input_bytes - more
        if self._queue.size <= room < self.size:
            self._shrink(room)
        return account.has_room(self.size, more)

    def _shrink(self, size: int) -> None:
        """Let go of the oldest that are kept, until no more than so many bytes are held."""
        if self._replay.let_go_of_bytes(self.size - size):
            self.note_less()

    # -- what happened to the two ------------------------------------------------------------

    def note_less(self) -> None:
        """Note that the replay buffer has let go of some."""
        if self.size + self.account.input_bytes < self.account.low:
            self._allowed = self.account.count(self.size)
        self.measure()

    def note_taken(self) -> None:
        """Note that the connection has taken some, which the replay buffer keeps now."""
        queue, replay, limits = self._queue, self._replay, self._limits
        if self.acknowledges:
            room = limits.resume_buffer_bytes - replay.size
            if room < queue.room_size:
                queue.room_size = room
        elif self.connected:
            kept = queue.sequence - replay.acknowledged
            over = min(kept - limits.resume_buffer_messages, replay.last - replay.acknowledged)
            if over > 0:
                replay.let_go(over)
                self.note_less()
            self._shrink(limits.resume_buffer_bytes)
            self.measure()
        account = self.account
        if not account.low <= queue.size + replay.size + account.input_bytes < account.high:
            self.count_bytes()

    def measure(self) -> None:
        """Set how far answers may go on without asking for the verdict."""
        limits, queue, replay = self._limits, self._queue, self._replay
        if not self.connected:
            queue.room_size = queue.room_until = 0
        elif self.acknowledges:
            kept = limits.resume_buffer_bytes - replay.size
            queue.room_size = min(limits.outbox_bytes, kept, self.most, STEP)
            queue.room_until = replay.acknowledged + limits.resume_buffer_messages
        else:
            unread = SWAMP * limits.resume_buffer_bytes
            queue.room_size = min(limits.outbox_bytes, unread, self.most, STEP)
            queue.room_until = replay.last + limits.resume_buffer_messages
        if queue.aside:
            closes_at = replay.last + FLOOD * limits.resume_buffer_messages - queue.aside
            queue.room_until = min(queue.room_until, closes_at)
