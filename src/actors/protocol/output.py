"""The answers of a session on their way out: a send queue, a replay buffer, and flow control."""

from actors.protocol.connection import NO_CONNECTION, Connection
from actors.protocol.flow_control import FlowControl
from actors.protocol.limits import SessionLimits
from actors.protocol.memory import Account
from actors.protocol.replay_buffer import ReplayBuffer
from actors.protocol.send_queue import SendQueue


class Output:
    """Does what concerns more than one of the three."""

    __slots__ = ("flow", "queue", "replay")

    def __init__(self, limits: SessionLimits, account: Account | None = None) -> None:
        self.queue: SendQueue = SendQueue()
        self.replay: ReplayBuffer = ReplayBuffer()
        self.flow: FlowControl = FlowControl(limits, self.queue, self.replay, account)

    def attach(self, connection: Connection, *, acknowledges: bool) -> None:
        """Have this connection told, from now on, that there is something to take."""
        self.detach()  # what was to go aside to the connection before is not for this one
        self.queue.connection = connection
        self.flow.connected, self.flow.acknowledges = True, acknowledges
        self.flow.measure()

    def detach(self) -> None:
        """Go on without a connection: what it was to carry aside goes with it."""
        self.queue.connection = NO_CONNECTION
        self.queue.drop_aside()
        self.flow.connected = False
        self.flow.measure()

    def put_aside(self, frame: bytes) -> None:
        """Take a frame that has no sequence; without a connection it goes nowhere."""
        if self.flow.connected:
            self.queue.add_aside(frame)
            self.flow.measure()

    def take(self, at_most: int) -> list[bytes]:
        """Return what the connection is to send next: `at_most` bytes, or one longer frame."""
        taken = self.queue.take(at_most, self.replay)
        self.flow.note_taken()
        return taken

    def acknowledge(self, sequence: int) -> None:
        """Let go of the answers up to this one. One that was never sent acknowledges nothing."""
        if self.replay.acknowledge(sequence):
            self.flow.note_less()

    def resume(self, after: int) -> bool:
        """Have every answer after this one sent again; False if that cannot be had whole."""
        again = self.replay.take_back(after)
        if again is None:
            return False
        self.queue.put_back(again)
        self.flow.note_less()
        return True
