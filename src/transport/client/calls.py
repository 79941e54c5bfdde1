"""A client's records: where the service is, how to behave, and what it has asked."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from google.protobuf.message import Message

from actors.protocol.failure import Code
from callboard.v1.envelope_pb2 import ClientMessage, ServerMessage
from callboard.v1.session_pb2 import Credit, Input, Limits
from transport.errors import RequestFailed

if TYPE_CHECKING:
    from callboard.v1.chat_pb2 import AnswerRequest

_ARMS: Final = {
    field.message_type.full_name: field.name
    for field in ClientMessage.DESCRIPTOR.oneofs_by_name["payload"].fields
    if field.message_type is not None
}

MAX_HEAD: Final = 32
"""Maximum bytes of a frame besides its payload: request_id, timeout_ms, tag and length."""

LONG: Final = 16
"""Unacknowledged answers from which an Ack is worthwhile when a request ends."""

MAX_TIMEOUT_MS: Final = 2**32 - 1
"""49 days: the maximum of the contract's field."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a service is, and the token that it requires.

    started_at: seconds since 1970, from its runtime file; 0 if there is none.
    """

    url: str
    token: str = field(repr=False)
    started_at: float = 0.0


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """How a client behaves. Times in seconds.

    name, version: how the service's log names it. window: answers of one request that may wait for
    its consumer. handshake: allowed for connecting and for the Welcome, each. backoff_initial,
    backoff_maximum: the delay before another attempt to connect. give_up: how long to try without a
    connection, once there was one. busy_wait: how long to retry a service that admits no client
    now, even before the first connection (ConnectionClosed.busy). features: which of the service's
    features the client understands (Hello.features); without "follow", a stream has only the kinds
    of event of the contract's first version.
    """

    name: str = ""
    version: str = ""
    window: int = 256
    handshake: float = 10.0
    backoff_initial: float = 0.1
    backoff_maximum: float = 5.0
    give_up: float = 120.0
    busy_wait: float = 5.0
    features: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError("the window must be at least 1")


class ClientCall:
    """A request, from when it is opened until it has ended."""

    __slots__ = (
        "_consumed", "_window", "abandoned", "cancelled", "deadline", "envelope", "granted",
        "inputs", "request_id", "unsettled",
    )  # fmt: skip

    def __init__(
        self, envelope: ClientMessage, deadline: float | None, settings: ClientSettings
    ) -> None:
        self.envelope: ClientMessage = envelope
        self.request_id: int = 0
        self.deadline: float | None = deadline
        self.cancelled: bool = False
        self.abandoned: bool = False
        self.unsettled: dict[str, AnswerRequest] = {}
        self.inputs: OutgoingInputs = OutgoingInputs()
        self.granted: int = settings.window
        self._window = settings.window
        self._consumed = 0

    def opening(self, now: float) -> Iterator[ClientMessage]:
        """Yield the request, with the time left until its deadline, and its inputs so far."""
        self.envelope.request_id = self.request_id
        if self.deadline is not None:
            left = round((self.deadline - now) * 1000)
            self.envelope.timeout_ms = min(max(left, 1), MAX_TIMEOUT_MS)
        yield self.envelope
        yield from map(self.about, self.inputs)

    def standing(self) -> Iterator[ClientMessage]:
        """Yield its credit and its answers to asks, which are still valid and may be sent twice."""
        if self.granted > self._window:
            yield self.about(Credit(limit=self.granted))
        yield from map(self.about, self.unsettled.values())

    def about(self, message: Message) -> ClientMessage:
        """Return this message with the request's id."""
        enveloped = envelope(message)
        enveloped.request_id = self.request_id
        return enveloped

    def consume(self) -> bool:
        """Count a handled answer; return whether it is time to grant more credit."""
        self._consumed += 1
        limit = self._consumed + self._window
        if (limit - self.granted) * 2 < self._window:
            return False
        self.granted = limit
        return not self.cancelled


class OutgoingInputs:
    """The inputs of a call, each kept until the service has taken it."""

    __slots__ = ("_kept", "_limit", "_number")

    def __init__(self) -> None:
        self._kept: deque[Input] = deque()
        self._limit = 0
        self._number = 0

    def has_room(self, window: int) -> bool:
        """Return whether one more may be sent. window: what is accepted before the first credit."""
        return self._number < max(self._limit, window)

    def make(self, message: Message | None, *, last: bool) -> Input:
        """Return the next input; its number is not used up until `keep`."""
        made = Input(number=self._number + 1, last=last)
        if message is not None:
            made.payload.Pack(message)
        return made

    def keep(self, made: Input) -> None:
        """Keep an input that is being sent."""
        self._number = made.number
        self._kept.append(made)

    def grant(self, limit: int, window: int) -> None:
        """Note how many inputs are accepted in total, and drop those that the service has taken."""
        self._limit = max(self._limit, limit)
        while self._kept and self._kept[0].number <= self._limit - window:
            self._kept.popleft()

    def __iter__(self) -> Iterator[Input]:
        return iter(self._kept)


class Acknowledger:
    """Counts answers since the last Ack; one is due per half of what the service keeps.

    Another is due when a long reply ends, so that a session that then falls silent costs the
    service nothing.
    """

    __slots__ = ("_bytes", "_messages")

    def __init__(self) -> None:
        self._messages = self._bytes = 0

    def count(self, answer: ServerMessage, size: int, limits: Limits) -> bool:
        """Count an answer of `size` bytes; if an Ack is due, restart the count and return True."""
        self._messages += 1
        self._bytes += size
        messages, room = limits.resume_buffer_messages, limits.resume_buffer_bytes
        if not (
            (messages and self._messages * 2 >= messages)
            or (room and self._bytes * 2 >= room)
            or (messages and answer.end and self._messages >= LONG)
        ):
            return False
        self._messages = self._bytes = 0
        return True


def envelope(message: Message) -> ClientMessage:
    """Return a ClientMessage with a copy of this in its own arm, or in `call` if it has none."""
    enveloped = ClientMessage()
    arm = _ARMS.get(message.DESCRIPTOR.full_name)
    if arm is None:
        enveloped.call.Pack(message)
    else:
        getattr(enveloped, arm).CopyFrom(message)
        getattr(enveloped, arm).SetInParent()
    return enveloped


def too_large(about: ClientMessage, limits: Limits) -> RequestFailed | None:
    """Return the error for a message too large to send (it would cost the connection, 1009).

    Returns None if the service accepts it.
    """
    size, limit = about.ByteSize() + MAX_HEAD, limits.max_message_bytes
    if not limit or size <= limit:
        return None
    text = f"the message is too long: {size} bytes, but the service accepts at most {limit}"
    return RequestFailed(Code.INVALID_ARGUMENT, text)
