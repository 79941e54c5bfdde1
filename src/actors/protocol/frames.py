"""What a session hears and says, without a word about bytes.

The transport turns bytes into these and back. Payloads are opaque here: they are whatever the
registry knows by its type.
"""

from collections.abc import AsyncIterator, Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeAlias, TypeVar

from actors.protocol.failure import Code, Failure

_OBJECTS: Final = 256
"""Bytes that the objects around a sealed message take, so that many small ones count too."""


class Message(Protocol):
    """What may be a request or an answer: a message that can be encoded (protobuf's can)."""

    def SerializeToString(self) -> bytes:  # noqa: N802 - so protobuf calls it
        """The message as bytes."""

    def ByteSize(self) -> int:  # noqa: N802 - so protobuf calls it
        """The length of these bytes."""


Rep_co = TypeVar("Rep_co", bound=Message, covariant=True)


# -- from the client -------------------------------------------------------------------------


@dataclass
class Request:  # without slots: from Python 3.13 on one is made in two thirds of the time
    """Opens a request.

    timeout_ms: 0 is none. payload: None is one that the service does not know; a Failure is what
    the request ends with at once, since its bytes make no message.
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
    """The request may send `limit` answers in all."""

    request_id: int
    limit: int


@dataclass(slots=True)
class Sealed:
    """A message from the client that stays encoded until a handler takes it.

    Decoded it may be many times as large: a list of empty texts takes two bytes of the wire each.
    """

    kind: type[Message]
    data: bytes
    parse: Callable[[bytes], Message]

    @property
    def size(self) -> int:
        """Return the bytes that it counts for: its own, and those of the objects around them."""
        return len(self.data) + _OBJECTS

    def open(self) -> Message:
        """Return the message. Raises Failure, INVALID_ARGUMENT, where the bytes hold none."""
        try:
            return self.parse(self.data)
        except Exception:  # noqa: BLE001 - the parser is the transport's, and so are its errors
            raise Failure(
                Code.INVALID_ARGUMENT, f"this {self.kind.__name__} cannot be decoded"
            ) from None


@dataclass(slots=True)
class Input:
    """One more message for a duplex request: its number in the request, and whether it is the last.

    payload: None is none, which is all right beside `last`; a Failure is what the request ends
    with, since the bytes make no message that the service knows.
    """

    number: int
    payload: Message | Sealed | Failure | None
    last: bool


@dataclass(slots=True)
class Inform:
    """A message for a running request, such as the answer to an ask.

    about: the key of what it settles (`Opens`); None: nothing in particular. One that is about
    something is dropped unless that is open, or the handler waits for a message.
    """

    request_id: int
    payload: Message | Sealed | Input
    about: str | None = None


@dataclass(slots=True)
class Ack:
    """The client has handled every answer up to and including this sequence."""

    sequence: int


@dataclass(slots=True)
class Ping:
    """Wants a Pong with the same nonce."""

    nonce: int


@dataclass(slots=True)
class Violation:
    """The client broke the protocol; the connection ends with `code`."""

    code: int
    reason: str


Signal: TypeAlias = Cancel | Credit | Inform | Ack | Ping | Violation
"""What opens no request."""

Frame: TypeAlias = Request | Signal


# -- to the client ---------------------------------------------------------------------------


@dataclass(slots=True)
class Notice:
    """For a person to read while the reply goes on; the last `discard` tokens are void."""

    message: str
    discard: int = 0


@dataclass(slots=True)
class Grant:
    """The request takes this many inputs in all."""

    limit: int


@dataclass(slots=True)
class Pong:
    """Answers a Ping."""

    nonce: int


@dataclass(slots=True)
class GoingAway:
    """The service is about to close the connection."""

    reason: str
    reconnect_after_ms: int


@dataclass(slots=True)
class Completed:
    """The stream has ended, and there is nothing more to say."""


COMPLETED: Final = Completed()


# -- what a stream may yield beside its answers ----------------------------------------------


@dataclass(slots=True)
class Last(Generic[Rep_co]):
    """The answer that ends the stream; it goes out in the frame with `end`."""

    answer: Rep_co


@dataclass(slots=True)
class Burst(Generic[Rep_co]):
    """Answers that are there already: more than one came at once, or none needs to be waited for.

    Pulled one by one like the stream itself, never without room, and without a step of the
    generator for each: several times the answers a CPU second. Others get their turn meanwhile.
    """

    answers: Iterable[Rep_co]


@dataclass(slots=True, eq=False)
class Relay(Generic[Rep_co]):
    """The answers of another stream, up to one of a type that is in `until`, which is not sent.

    As `async for answer in source: yield answer`, without a step of this generator for each: what
    the source raises is raised at the `yield`, and who makes the source closes it. The generator
    goes on with `stopped_by`, None: the source has ended. To yield it again goes on with the rest.
    """

    source: AsyncIterator[Rep_co | Burst[Rep_co]]
    until: Collection[type[Message]] = ()
    stopped_by: Rep_co | None = None


@dataclass(slots=True)
class Opens(Generic[Rep_co]):
    """An answer that owes another: `closing` goes out before the end, unless `Closes(key)` came.

    However the request ends (cancel, deadline, crash), what is owed is paid first.
    """

    key: str
    answer: Rep_co
    closing: Rep_co


@dataclass(slots=True)
class Closes(Generic[Rep_co]):
    """The answer that pays what `Opens(key)` owed."""

    key: str
    answer: Rep_co
