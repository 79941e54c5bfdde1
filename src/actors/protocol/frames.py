"""The messages between client and session, independent of their encoding.

The transport converts between these and bytes. Payloads are opaque here: they are whatever the
registry knows by its type.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Final, Generic, Protocol, TypeAlias, TypeVar, cast

from actors.protocol.failure import Code, Failure

_OBJECTS: Final = 256
"""Bytes counted for the objects around a sealed message, so that many small ones count too."""


class Message(Protocol):
    """A request or an answer: any message that can be encoded, such as protobuf's."""

    def SerializeToString(self) -> bytes:  # noqa: N802 - the name that protobuf uses
        """Return the encoded message."""

    def ByteSize(self) -> int:  # noqa: N802 - the name that protobuf uses
        """Return the length of the encoded message."""


Rep = TypeVar("Rep", bound=Message)
Rep_co = TypeVar("Rep_co", bound=Message, covariant=True)


# -- from the client -------------------------------------------------------------------------


@dataclass
class Request:  # no slots: since Python 3.13, creation takes a third less time without
    """Opens a request.

    timeout_ms: 0 means no timeout. payload: None if the service does not know the type; a Failure
    if the bytes hold no valid message, in which case the request ends with it at once.
    """

    request_id: int
    timeout_ms: int
    payload: Message | Failure | None


@dataclass(slots=True)
class Cancel:
    """Ends a request."""

    request_id: int


@dataclass(slots=True)
class Credit:
    """Allows the request to send `limit` answers in total."""

    request_id: int
    limit: int


@dataclass(slots=True)
class Sealed:
    """A message from the client that stays encoded until a handler takes it.

    Decoded, it may be many times larger: in a list of empty texts, each takes two bytes on the
    wire.
    """

    kind: type[Message]
    data: bytes
    parse: Callable[[bytes], Message]

    @property
    def size(self) -> int:
        """Return the bytes to count for it: its own, and those of the objects around them."""
        return len(self.data) + _OBJECTS

    def open(self) -> Message:
        """Return the decoded message. Raises Failure, INVALID_ARGUMENT, if it cannot be decoded."""
        try:
            return self.parse(self.data)
        except Exception:  # noqa: BLE001 - the transport's parser defines its errors
            raise Failure(
                Code.INVALID_ARGUMENT, f"this {self.kind.__name__} cannot be decoded"
            ) from None


@dataclass(slots=True)
class Input:
    """A further message for a duplex request.

    number: its number in the request. last: whether it is the last. payload: None if there is none,
    which is valid together with `last`; a Failure, which ends the request, if the bytes hold no
    message that the service knows.
    """

    number: int
    payload: Message | Sealed | Failure | None
    last: bool


@dataclass(slots=True)
class Inform:
    """A message for a running request, such as the answer to an ask.

    about: the key of the ask that it answers (`Opens`), or None. A message with a key is dropped
    unless that ask is open or the handler is waiting for a message.
    """

    request_id: int
    payload: Message | Sealed | Input
    about: str | None = None


@dataclass(slots=True)
class Ack:
    """Says that the client has handled every answer up to and including this sequence number."""

    sequence: int


@dataclass(slots=True)
class Ping:
    """Asks for a Pong with the same nonce."""

    nonce: int


@dataclass(slots=True)
class Violation:
    """Says that the client broke the protocol; the connection is closed with `code`."""

    code: int
    reason: str


Signal: TypeAlias = Cancel | Credit | Inform | Ack | Ping | Violation
"""Every frame that does not open a request."""

Frame: TypeAlias = Request | Signal


# -- to the client ---------------------------------------------------------------------------


@dataclass(slots=True)
class Notice:
    """Text to show the user while the reply continues; the last `discard` tokens are void."""

    message: str
    discard: int = 0


@dataclass(slots=True)
class Grant:
    """Says that the request takes this many inputs in total."""

    limit: int


@dataclass(slots=True)
class Pong:
    """Answers a Ping."""

    nonce: int


@dataclass(slots=True)
class GoingAway:
    """Says that the service is about to close the connection."""

    reason: str
    reconnect_after_ms: int


@dataclass(slots=True)
class Completed:
    """Ends a stream that has no final answer."""


COMPLETED: Final = Completed()


# -- what a stream may yield besides its answers ---------------------------------------------


@dataclass(slots=True)
class Last(Generic[Rep_co]):
    """The final answer of a stream, which is sent in the frame with `end`."""

    answer: Rep_co


class Shared(Generic[Rep_co]):
    """An answer that many streams send, encoded once. Create it with `shared`.

    The message must not be changed afterwards. kind: its type.
    """

    __slots__ = ("_message", "encoded")

    kind: ClassVar[type[Message]]

    def __init__(self, message: Rep_co) -> None:
        self._message: Rep_co = message
        self.encoded: bytes = message.SerializeToString()

    @property
    def message(self) -> Rep_co:
        """The message itself."""
        return self._message

    def SerializeToString(self) -> bytes:  # noqa: N802 - the name that protobuf uses
        """Return the encoded message."""
        return self.encoded

    def ByteSize(self) -> int:  # noqa: N802 - the name that protobuf uses
        """Return the length of the encoded message."""
        return len(self.encoded)


def shared(message: Rep) -> Shared[Rep]:
    """Return the message as an answer that any number of streams may yield."""
    return cast("Shared[Rep]", _shared_type(type(message))(message))


@cache
def _shared_type(kind: type[Message]) -> type[Shared[Message]]:
    """Return the class for messages of one type: encoders look answers up by their class."""
    return type(f"Shared{kind.__name__}", (Shared,), {"__slots__": (), "kind": kind})


def message_of(answer: Message) -> Message:
    """Return the message of a `Shared` answer, or any other answer unchanged."""
    return answer.message if isinstance(answer, Shared) else answer


@dataclass(slots=True)
class Burst(Generic[Rep_co]):
    """A batch of answers that are available now, without waiting for any of them.

    They are pulled one by one, as from the stream itself, and only while there is room, but without
    resuming the generator for each: this yields several times the answers per CPU second. Other
    requests still get their turn in between.
    """

    answers: Iterable[Rep_co]


class PushSource(ABC, Generic[Rep_co]):
    """A source of answers that passes them on as they come, without a task that waits for each.

    Whatever brings an answer (a read from a socket, an event in a log) calls the function that
    sends it.
    """

    @abstractmethod
    async def push(
        self, take: Callable[[Rep_co | Shared[Rep_co]], bool], until: Collection[type]
    ) -> "Rep_co | Burst[Rep_co] | None":
        """Call `take` with each answer as it arrives, until `take` returns False.

        Returns early with an answer whose type is in `until`, or with a Burst of answers that
        arrived together; `take` does not get these. Returns None once `take` has returned False:
        `push` is called again when there is room. Raises StopAsyncIteration at the end of the
        source, and any exception that `take` raises.
        """


@dataclass(slots=True, eq=False)
class Relay(Generic[Rep_co]):
    """Sends the answers of another stream, up to one whose type is in `until`, which is not sent.

    Equivalent to `async for answer in source: yield answer`, without resuming this generator for
    each answer: an exception from the source is raised at the `yield`, and whoever created the
    source closes it. The generator then resumes with `stopped_by` set; None means that the source
    has ended. Yield the same Relay again to send the rest.
    """

    source: AsyncIterator[Rep_co | Burst[Rep_co]] | PushSource[Rep_co]
    until: Collection[type[Message]] = ()
    stopped_by: Rep_co | None = None


@dataclass(slots=True)
class Opens(Generic[Rep_co]):
    """An answer with a pending closing, which is sent before the end unless `Closes(key)` came.

    This holds however the request ends (cancel, deadline, crash).
    """

    key: str
    answer: Rep_co
    closing: Rep_co


@dataclass(slots=True)
class Closes(Generic[Rep_co]):
    """The answer that replaces the pending closing of `Opens(key)`."""

    key: str
    answer: Rep_co
