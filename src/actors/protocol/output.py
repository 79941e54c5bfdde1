"""A session's output: its send queue, its replay buffer and its flow control."""

from actors.protocol.connection import NO_CONNECTION, Connection
from actors.protocol.flow_control import FlowControl
from actors.protocol.limits import SessionLimits
from actors.protocol.memory import Account
from actors.protocol.replay_buffer import ReplayBuffer
from actors.protocol.send_queue import SendQueue


class Output:
    """Operations that involve more than one of the three."""

    __slots__ = ("flow", "queue", "replay")

    def __init__(self, limits: SessionLimits, account: Account | None = None) -> None:
        self.queue: SendQueue = SendQueue()
        self.replay: ReplayBuffer = ReplayBuffer()
        self.flow: FlowControl = FlowControl(limits, self.queue, self.replay, account)

    def attach(self, connection: Connection, *, acknowledges: bool) -> None:
        """Send to this connection, and wake it from now on when there is something to take."""
        self.detach()  # frames without a sequence number were meant for the previous connection
        self.queue.connection = connection
        self.flow.connected, self.flow.acknowledges = True, acknowledges
        self.flow.measure()

    def detach(self) -> None:
        """Continue without a connection, dropping the frames that have no sequence number."""
        self.queue.connection = NO_CONNECTION
        self.queue.drop_aside()
        self.flow.connected = False
        self.flow.measure()

    def put_aside(self, frame: bytes) -> None:
        """Queue a frame that has no sequence number; drop it if there is no connection."""
        if self.flow.connected:
            self.queue.add_aside(frame)
            self.flow.measure()

    def take(self, at_most: int) -> list[bytes]:
        """Return what the connection must send next: up to `at_most` bytes, or one longer frame."""
        taken = self.queue.take(at_most, self.replay)
        self.flow.note_taken()
        return taken

    def acknowledge(self, sequence: int) -> None:
        """Drop the answers up to this sequence number; a number that was never sent is ignored."""
        if self.replay.acknowledge(sequence):
            self.flow.note_less()

    def resume(self, after: int) -> bool:
        """Queue every answer after this one to be sent again; return False if some are not held."""
        again = self.replay.take_back(after)
        if again is None:
            return False
        self.queue.put_back(again)
        self.flow.note_less()
        return True
