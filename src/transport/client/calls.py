"""A client's own notes: where the service is, how it wants to behave, what it has asked."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.message import Message

from actors.protocol.failure import Code
from callboard.v1.chat_pb2 import AnswerRequest
from callboard.v1.envelope_pb2 import ClientMessage, ServerMessage
from callboard.v1.session_pb2 import Credit, Input, Limits
from transport.errors import RequestFailed

_ARMS: Final = {
    field.message_type.full_name: field.name
    for field in ClientMessage.DESCRIPTOR.oneofs_by_name["payload"].fields
    if field.message_type is not None
}

MAX_HEAD: Final = 32
"""Bytes of a frame beside its payload, at most: request_id, timeout_ms, tag and length."""

LONG: Final = 16
"""Answers without an Ack that are worth one when a request ends."""

MAX_TIMEOUT_MS: Final = 2**32 - 1
"""49 days: what the contract's field holds."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a service is, and what lets one in.

    started_at: seconds since 1970, as its runtime file says; 0 where there is none.
    """

    url: str
    token: str = field(repr=False)
    started_at: float = 0.0


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """How a client behaves. Times in seconds.

    name, version: what the service's log calls it. window: answers of one request that may wait
    for its consumer. handshake: for the connection and for the Welcome, each. backoff: before
    another attempt to connect. give_up: without a connection, once there was one. busy_wait: for
    which a service is tried again that takes no client in now, even if there never was a
    connection (ConnectionClosed.busy).
    """

    name: str = ""
    version: str = ""
    window: int = 256
    handshake: float = 10.0
    backoff_initial: float = 0.1
    backoff_maximum: float = 5.0
    give_up: float = 120.0
    busy_wait: float = 5.0

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError("a window lets at least one answer wait")


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
        """The request, with the time that is left of its deadline, and its inputs so far."""
        self.envelope.request_id = self.request_id
        if self.deadline is not None:
            left = round((self.deadline - now) * 1000)
            self.envelope.timeout_ms = min(max(left, 1), MAX_TIMEOUT_MS)
        yield self.envelope
        yield from map(self.about, self.inputs)

    def standing(self) -> Iterator[ClientMessage]:
        """What still holds beside the request and may be sent twice: its credit and its answers."""
        if self.granted > self._window:
            yield self.about(Credit(limit=self.granted))
        yield from map(self.about, self.unsettled.values())

    def about(self, message: Message) -> ClientMessage:
        """This message, under the request's id."""
        enveloped = envelope(message)
        enveloped.request_id = self.request_id
        return enveloped

    def consume(self) -> bool:
        """One answer was handled; True if that makes it time to grant more."""
        self._consumed += 1
        limit = self._consumed + self._window
        if (limit - self.granted) * 2 < self._window:
            return False
        self.granted = limit
        return not self.cancelled


class OutgoingInputs:
    """What a call sends beside its request, and keeps until the service has taken it."""

    __slots__ = ("_kept", "_limit", "_number")

    def __init__(self) -> None:
        self._kept: deque[Input] = deque()
        self._limit = 0
        self._number = 0

    def has_room(self, window: int) -> bool:
        """One more may be sent. window: what the service takes before its first credit."""
        return self._number < max(self._limit, window)

    def make(self, message: Message | None, *, last: bool) -> Input:
        """The next one; its number is used up by `keep`."""
        made = Input(number=self._number + 1, last=last)
        if message is not None:
            made.payload.Pack(message)
        return made

    def keep(self, made: Input) -> None:
        """It is on its way."""
        self._number = made.number
        self._kept.append(made)

    def grant(self, limit: int, window: int) -> None:
        """The service takes so many; those that are a window below it, it has taken."""
        self._limit = max(self._limit, limit)
        while self._kept and self._kept[0].number <= self._limit - window:
            self._kept.popleft()

    def __iter__(self) -> Iterator[Input]:
        return iter(self._kept)


class Acknowledger:
    """Counts what came since the last Ack: one is due every half of what the service keeps.

    One more where a long reply ends: a session that falls silent then costs the service nothing.
    """

    __slots__ = ("_bytes", "_messages")

    def __init__(self) -> None:
        self._messages = self._bytes = 0

    def count(self, answer: ServerMessage, size: int, limits: Limits) -> bool:
        """An answer of this size has come; True if an Ack is due, which starts the count anew."""
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
    """A ClientMessage with a copy of this in its own arm, or in `call` where it has none."""
    enveloped = ClientMessage()
    arm = _ARMS.get(message.DESCRIPTOR.full_name)
    if arm is None:
        enveloped.call.Pack(message)
    else:
        getattr(enveloped, arm).CopyFrom(message)
        getattr(enveloped, arm).SetInParent()
    return enveloped


def too_large(about: ClientMessage, limits: Limits) -> RequestFailed | None:
    """What a message ends with that would cost the connection (1009); None: it is taken."""
    size, limit = about.ByteSize() + MAX_HEAD, limits.max_message_bytes
    if not limit or size <= limit:
        return None
    text = f"the message is too long: {size} bytes, and the service takes {limit}"
    return RequestFailed(Code.INVALID_ARGUMENT, text)
