"""The fuzz targets. Each takes bytes, and raises if the code breaks any of its promises.

The same targets run under hypothesis (`test_targets.py`) and, guided by coverage, under atheris
(`make fuzz`).
"""

from collections.abc import Callable, Sequence
from typing import Final

from google.protobuf.message import DecodeError

from actors import Failure, Registry, RequestActor
from actors.protocol.effects import Close, Deliver, Effect, Refused, Stop, Wake
from actors.protocol.frames import (
    COMPLETED,
    Ack,
    Cancel,
    Credit,
    Inform,
    Ping,
    Request,
    Violation,
)
from actors.protocol.limits import SessionLimits
from actors.protocol.machine import SessionMachine
from callboard.v1.chat_pb2 import ChatToken
from callboard.v1.envelope_pb2 import ClientMessage, ServerMessage
from callboard.v1.system_pb2 import ServiceStatus, ServiceStatusRequest
from tests.support.machine_kit import Machine, Start, gone, receive, stream
from transport.server.authentication import shown_token
from transport.wire.codec import Wire
from transport.wire.framing import payload_of

FRAMES: Final = (Ack, Cancel, Credit, Inform, Ping, Request, Violation)
EFFECTS: Final = (Close, Deliver, Refused, Start, Stop, Wake)
LIMITS: Final = SessionLimits(
    max_requests_in_flight=3,
    message_burst=20,
    byte_burst=2048,
    outbox_bytes=200,
    resume_buffer_messages=16,
    resume_buffer_bytes=1024,
)
MOST_HELD: Final = 8 * 1024
"""Bytes that a session with these limits may hold, including final answers and refusals."""


class Called(RequestActor[ServiceStatusRequest, ServiceStatus]):
    """The handler that a `call` reaches."""

    async def handle(self, request: ServiceStatusRequest) -> ServiceStatus:
        raise NotImplementedError


def make_wire() -> Wire:
    registry = Registry()
    registry.register(ServiceStatusRequest, Called)
    return Wire(registry)


WIRE: Final = make_wire()


def fuzz_wire(data: bytes) -> None:
    """Decoding gives a frame, whose payload is no longer than the data, or the violation 4500."""
    frame = WIRE.decode(data)
    assert isinstance(frame, FRAMES)
    try:
        ClientMessage.FromString(data)
    except DecodeError:
        assert isinstance(frame, Violation)
    if isinstance(frame, Violation):
        assert frame.code == 4500
    elif isinstance(frame, Request) and frame.payload is not None:
        payload = frame.payload
        if not isinstance(payload, Failure):
            assert payload.ByteSize() <= len(data)
        answer = WIRE.encode(frame.request_id, 1, True, payload)
        read = ServerMessage.FromString(payload_of(answer))
        assert (read.request_id, read.sequence, read.end) == (frame.request_id, 1, True)


def fuzz_greeting(data: bytes) -> None:
    """The token that is shown is the one that protobuf would read, or empty, or none."""
    shown = shown_token(data)
    assert shown is None or shown in data
    hello = WIRE.greeting(data)
    if hello is not None and shown is not None:
        assert shown in (b"", hello.token.encode())


class Driven:
    """A session machine and the frames that its client has read. One byte selects each step."""

    def __init__(self) -> None:
        self.machine: Machine = SessionMachine(LIMITS, WIRE.encode)
        self.machine.attach(initial_credit=2, acknowledges=False)
        self.now = 0.0
        self.got: list[bytes] = []
        self.at = 0
        self.ended: set[int] = set()
        self.running: list[int] = []
        self.closed = False

    def step(self, what: int, data: bytes) -> None:
        which = self.running[what // 8 % len(self.running)] if self.running else 0
        match what % 8:
            case 0 | 1 | 2:
                self.react(receive(self.machine, WIRE.decode(data), len(data), self.now))
            case 3 if stream(self.machine, which).has_room():
                stream(self.machine, which).answer(ChatToken(text="x" * (what // 8)))
            case 4 if which:
                stream(self.machine, which).end(COMPLETED)
                self.gone(which)
            case 5 if which:
                self.gone(which)
            case 6:
                self.now += what / 64
                self.read(self.machine.output.take(what * 4))
            case 7:
                self.reconnect(max(0, self.at - what // 8))
            case _:
                pass
        assert self.machine.output.flow.size <= MOST_HELD
        assert self.machine.in_flight <= LIMITS.max_requests_in_flight

    def gone(self, request_id: int) -> None:
        gone(self.machine, request_id)
        self.running.remove(request_id)

    def react(self, effects: Sequence[Effect | Start]) -> None:
        for effect in effects:
            assert isinstance(effect, EFFECTS)
            match effect:
                case Start(request):
                    self.running.append(request.request_id)
                case Stop(request_id):
                    self.gone(request_id)
                case Close(code):
                    assert code in (4500, 4505)
                    self.closed = True
                case _:
                    pass

    def reconnect(self, last: int) -> None:
        self.machine.detach()
        if self.machine.resume(last):
            self.at = last
        else:
            self.closed = True  # the session has ended too
        self.react(self.machine.attach(initial_credit=2, acknowledges=False))

    def read(self, frames: list[bytes]) -> None:
        """Check that there is no gap, replays are equal, and nothing follows an end."""
        for frame in frames:
            message = ServerMessage.FromString(payload_of(frame))
            if not message.request_id:
                continue
            self.at += 1
            assert message.sequence == self.at
            if self.at <= len(self.got):
                assert self.got[self.at - 1] == frame
                continue
            self.got.append(frame)
            assert message.request_id not in self.ended
            if message.end:
                self.ended.add(message.request_id)


def fuzz_session(data: bytes) -> None:
    """Run steps, each of which is: the kind of step, the length of a frame, the frame."""
    driven, at = Driven(), 0
    while at + 1 < len(data) and not driven.closed:
        size = data[at + 1]
        driven.step(data[at], data[at + 2 : at + 2 + size])
        at += 2 + size
    if not driven.closed:
        while frames := driven.machine.output.take(4096):
            driven.read(frames)


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "wire": fuzz_wire,
    "greeting": fuzz_greeting,
    "session": fuzz_session,
}
