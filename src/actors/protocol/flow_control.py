"""Flow control: how much room a session has, given its queued and kept answers and free memory.

The credit that a client gives each request is counted in `actors.protocol.answer_stream`.

`FlowControl.verdict` returns one of four values. Streams wait at all but the first:

    verdict | when                                                   | effect
    --------+--------------------------------------------------------+---------------------------
    ROOM    |                                                        |
    WAIT    | `outbox_bytes` or `resume_buffer_messages` are queued; | streams wait; ends do not
            | the replay buffer is full, for a client that           |
            | acknowledges or is away; memory is short               |
    REFUSE  | twice `resume_buffer_bytes` are unread                 | new requests are refused
    CLOSE   | four times `resume_buffer_messages` frames are unsent  | a refusal or a ping closes
            |                                                        | the connection

For a connected client that does not acknowledge, the replay buffer drops its oldest answers
instead.
"""

from enum import IntEnum
from typing import Final

from actors.protocol.limits import SessionLimits
from actors.protocol.memory import STEP, Account, Budget
from actors.protocol.replay_buffer import ReplayBuffer
from actors.protocol.send_queue import SendQueue

SWAMP: Final = 2
"""New requests are refused once this many times the replay buffer's bytes are unread."""

FLOOD: Final = 4
"""The connection is closed once this many times the replay buffer's answers are unsent frames."""


class Verdict(IntEnum):
    """How much room a session has."""

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
        "_allowed", "_queue", "_replay", "account", "acknowledges", "awaited", "blocked",
        "connected", "filled", "limits", "most",
    )  # fmt: skip

    def __init__(
        self,
        limits: SessionLimits,
        queue: SendQueue,
        replay: ReplayBuffer,
        account: Account | None,
    ) -> None:
        self.limits: SessionLimits = limits
        self._queue = queue
        self._replay = replay
        self.connected: bool = False
        self.acknowledges: bool = False
        self.account: Account = account or Account(limits.max_session_bytes, Budget(2**62))
        """Everything that the session holds, including its answers."""
        self._allowed = limits.max_session_bytes
        """The bytes that the session may hold, as of the last count."""
        self.most: int = limits.max_answer_bytes
        """The size of the largest answer, in bytes."""
        self.blocked: dict[int, None] = {}
        """Requests that wait for room, the longest-waiting first."""
        self.awaited: bool = False
        """Set when `blocked` may be non-empty. Read at each write, as it stays in the CPU cache."""
        self.filled: bool = False
        """True if the end that was sent last has left no room."""

    # -- the verdict -------------------------------------------------------------------------

    def verdict(self) -> Verdict:
        """Count the memory that is held, if necessary, and return how much room there is."""
        limits, queue, replay = self.limits, self._queue, self._replay
        if self._is_miscounted:
            self.count_bytes()
        if self.unsent >= FLOOD * limits.resume_buffer_messages:
            return CLOSE
        if self.refuses():
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

    def refuses(self) -> bool:
        """Return whether new requests are refused because too much is unread.

        Not because of CLOSE alone: where the replay buffer is small, the answers to what a client
        has sent in one read are more frames than that.
        """
        unread = self._queue.size + (self._replay.size if self.acknowledges else 0)
        return unread >= SWAMP * self.limits.resume_buffer_bytes

    @property
    def unsent(self) -> int:
        """Return how many frames wait for the connection."""
        return self._queue.sequence - self._replay.last + self._queue.aside

    @property
    def size(self) -> int:
        """Return the bytes of all answers that are held."""
        return self._replay.size + self._queue.size

    @property
    def _is_full_size(self) -> bool:
        """Return whether the answers held reach the replay buffer's limits."""
        limits, held = self.limits, self._queue.sequence - self._replay.acknowledged
        return held >= limits.resume_buffer_messages or self.size >= limits.resume_buffer_bytes

    def lacks_ack(self) -> bool:
        """Return whether the buffer is full of what a connected client should acknowledge."""
        return self.connected and self.acknowledges and self._is_full_size

    def may_go_on(self) -> bool:
        """Return whether waiting streams may continue, which needs half of the queue free again."""
        limits, queue = self.limits, self._queue
        if self.connected and (
            queue.size > limits.outbox_bytes // 2
            or queue.sequence - self._replay.last > limits.resume_buffer_messages // 2
        ):
            return False
        return self.verdict() is ROOM

    def room(self) -> tuple[int, int]:
        """Return how many more answers, and bytes of them, fit before streams must wait."""
        if self._is_miscounted:
            self.count_bytes()
        limits, queue, replay = self.limits, self._queue, self._replay
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

    def count_input(self, size: int) -> None:
        """Add `size` bytes, which may be negative, to what requests and their input hold."""
        self.account.input_bytes += size
        if self._is_miscounted:
            self.count_bytes()

    def count_bytes(self) -> None:
        """Update the account, and shrink the replay buffer if the session holds more than it may.

        Even answers that the client has yet to acknowledge are dropped. Such a client can no longer
        resume and gets a new session; other sessions must not lose memory because of it.
        """
        self._allowed = self.account.count(self.size)
        if self._replay.size > self._allowed:
            self._shrink(self._allowed)
            self.account.count(self.size)
        self.measure()

    def has_room_for(self, more: int) -> bool:
        """Return whether the session may hold `more` bytes, dropping kept answers if necessary."""
        account, held = self.account, self.size + self.account.input_bytes
        if held + more < account.high or account.has_room(self.size, more):
            return True
        room = account.count(self.size) - account.input_bytes - more
        if self._queue.size <= room < self.size:
            self._shrink(room)
        return account.has_room(self.size, more)

    def _shrink(self, size: int) -> None:
        """Drop the oldest kept answers until at most `size` bytes of answers are held."""
        if self._replay.let_go_of_bytes(self.size - size):
            self.note_less()

    # -- changes of the queue and the buffer -------------------------------------------------

    def note_less(self) -> None:
        """Update the counts after the replay buffer has dropped answers."""
        if self.size + self.account.input_bytes < self.account.low:
            self._allowed = self.account.count(self.size)
        self.measure()

    def note_taken(self) -> None:
        """Update the counts after the connection has taken answers."""
        queue, replay, limits = self._queue, self._replay, self.limits
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
        limits, queue, replay = self.limits, self._queue, self._replay
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
