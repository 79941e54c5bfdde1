"""The answers of a session on their way out: what waits for the socket, what a replay needs.

    sequence:  … gone │ first ─── kept ─── │ ─── waiting ─── last
                      ▲ acknowledged or,   ▲ handed to the connection
                        where the client
                        does not, replaced

An answer is encoded once; both halves hold the same bytes. Frames that belong to no request (a
Pong, a GoingAway) go ahead of the answers and end with the connection.
"""

from collections import deque
from itertools import repeat, starmap

from actors.limits import SessionLimits


class Output:
    """Counts the sequence, and keeps answers in order. Says when there is no room for more.

    Room, for a client that acknowledges: `resume_buffer` is not full of what is unacknowledged,
    and `outbox_bytes` not of what waits. For one that does not, the oldest leave instead of
    filling the buffer. While no connection is there nothing leaves, for either.
    """

    __slots__ = (
        "_aside", "_kept", "_kept_bytes", "_messages", "_outbox", "_size", "_waiting",
        "acknowledges", "connected", "sequence", "waiting_bytes",
    )  # fmt: skip

    def __init__(self, limits: SessionLimits) -> None:
        self.sequence = 0
        self.connected = False
        self.acknowledges = False
        self.waiting_bytes = 0
        self._aside: deque[bytes] = deque()
        self._waiting: deque[bytes] = deque()
        self._kept: deque[bytes] = deque()
        self._kept_bytes = 0
        self._messages = limits.resume_buffer_messages
        self._size = limits.resume_buffer_bytes
        self._outbox = limits.outbox_bytes

    # -- in ----------------------------------------------------------------------------------

    def add(self, answer: bytes) -> None:
        """Take an answer; it has been given the next sequence number."""
        self.sequence += 1
        self._waiting.append(answer)
        self.waiting_bytes += len(answer)

    def put(self, answer: bytes) -> bool:
        """`add`; and whether there is room for more."""
        self.sequence += 1
        waiting = self._waiting
        waiting.append(answer)
        octets = self.waiting_bytes = self.waiting_bytes + len(answer)
        return (
            self.connected
            and octets < self._outbox
            and len(waiting) + len(self._kept) < self._messages
            and octets + self._kept_bytes < self._size
        ) or not self.full()

    def add_all(self, answers: list[bytes]) -> None:
        """Take answers that have been given the next sequence numbers."""
        self.sequence += len(answers)
        self._waiting.extend(answers)
        self.waiting_bytes += sum(map(len, answers))

    def room(self) -> tuple[int, int]:
        """How many more answers, of how many bytes, before streams are to wait."""
        answers, size = self._messages - self.count, self._size - self.size
        if self.connected:
            if not self.acknowledges:
                answers, size = self._messages - len(self._waiting), self._outbox
            size = min(size, self._outbox - self.waiting_bytes)
        return answers, size

    def add_aside(self, frame: bytes) -> None:
        """Take a frame that has no sequence; without a connection it goes nowhere."""
        if self.connected:
            self._aside.append(frame)

    # -- how full ----------------------------------------------------------------------------

    @property
    def count(self) -> int:
        """Answers that are held."""
        return len(self._kept) + len(self._waiting)

    @property
    def size(self) -> int:
        """Bytes of them."""
        return self._kept_bytes + self.waiting_bytes

    @property
    def acknowledged(self) -> int:
        """The highest sequence that is held no more."""
        return self.sequence - self.count

    @property
    def unsent(self) -> int:
        """Frames that wait for the socket."""
        return len(self._waiting) + len(self._aside)

    @property
    def is_full_size(self) -> bool:
        """The buffer is full, whoever has to empty it."""
        return (
            len(self._kept) + len(self._waiting) >= self._messages
            or self._kept_bytes + self.waiting_bytes >= self._size
        )

    def full(self) -> bool:
        """Streams are to wait."""
        if self.connected:
            if self.waiting_bytes >= self._outbox or len(self._waiting) >= self._messages:
                return True
            if not self.acknowledges:
                return False
        return self._over()

    def drained(self) -> bool:
        """Streams that waited may go on: the outbox is half empty, the buffer has room."""
        if self.connected and (
            self.waiting_bytes > self._outbox // 2 or len(self._waiting) > self._messages // 2
        ):
            return False
        return not self.full()

    def unacknowledged(self) -> bool:
        """The buffer is full of what the client, which is there, should have acknowledged."""
        return self.connected and self.acknowledges and self._over()

    def swamped(self) -> bool:
        """Twice the buffer waits unread: ends alone, which always find room, have come to that."""
        unread = self.size if self.acknowledges else self.waiting_bytes
        return unread >= 2 * self._size

    def flooded(self) -> bool:
        """More frames wait than requests in flight can end with: the client asks, never reads."""
        return self.unsent >= 4 * self._messages

    def _over(self) -> bool:
        return (
            len(self._kept) + len(self._waiting) >= self._messages
            or self._kept_bytes + self.waiting_bytes >= self._size
        )

    # -- out ---------------------------------------------------------------------------------

    def take(self, at_most: int) -> list[bytes]:
        """What the connection is to send next: `at_most` bytes, or one longer frame."""
        taken: list[bytes] = []
        room = at_most
        aside = self._aside
        while aside and (room >= len(aside[0]) or not taken):
            taken.append(aside.popleft())
            room -= len(taken[-1])
        if aside:
            return taken
        waiting, kept, before = self._waiting, self._kept, room
        if self.waiting_bytes <= room:
            room -= self.waiting_bytes
            taken.extend(waiting)
            kept.extend(waiting)
            waiting.clear()
        while waiting and (room >= len(waiting[0]) or not taken):
            answer = waiting.popleft()
            room -= len(answer)
            taken.append(answer)
            kept.append(answer)
        self.waiting_bytes -= before - room
        self._kept_bytes += before - room
        if self.connected and not self.acknowledges:
            over = self.count - self._messages
            while kept and (over > 0 or self.size > self._size):
                self._kept_bytes -= len(kept.popleft())
                over -= 1
        return taken

    def acknowledge(self, sequence: int) -> None:
        """Let go of the answers up to this one. One that was never sent acknowledges nothing."""
        handed_out = self.sequence - len(self._waiting)
        if sequence <= handed_out:
            # Thousands at once: none of them costs a step here.
            over = max(len(self._kept) - (handed_out - sequence), 0)
            gone = starmap(self._kept.popleft, repeat((), over))
            self._kept_bytes -= sum(map(len, gone))

    def detach(self) -> None:
        """The connection is no more: what it was to carry aside goes with it."""
        self.connected = False
        self._aside.clear()

    def resume(self, after: int) -> bool:
        """Have every answer after this one sent again; False if that cannot be had whole."""
        if not self.acknowledged <= after <= self.sequence - len(self._waiting):
            return False
        self.acknowledge(after)
        self._waiting.extendleft(reversed(self._kept))
        self.waiting_bytes += self._kept_bytes
        self._kept.clear()
        self._kept_bytes = 0
        return True
