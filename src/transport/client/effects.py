"""The effects that the client's state machine asks for."""

from dataclasses import dataclass
from typing import TypeAlias

from callboard.v1 import session_pb2
from callboard.v1.envelope_pb2 import ServerMessage
from transport.client.calls import ClientCall, Endpoint
from transport.errors import ConnectionClosed, TransportError


@dataclass(frozen=True, slots=True)
class Find:
    """Find out where the service is, and report it with `found`."""


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a WebSocket after `delay` seconds, and report `connected` or `disconnected`."""

    endpoint: Endpoint
    delay: float


@dataclass(frozen=True, slots=True)
class AbortConnection:
    """Cut the connection or the attempt to make one, and report `disconnected` with 1006."""


@dataclass(frozen=True, slots=True)
class Close:
    """Send what is in the outbox, close with this code, and report nothing."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Ready:
    """The service has admitted the client; requests are sent from now on."""

    welcome: session_pb2.Welcome


@dataclass(frozen=True, slots=True)
class Deliver:
    """The next answer to a call."""

    call: ClientCall
    message: ServerMessage


@dataclass(frozen=True, slots=True)
class Failed:
    """The call has ended without an answer from the service that says so."""

    call: ClientCall
    error: TransportError


@dataclass(frozen=True, slots=True)
class Room:
    """The service takes more inputs of this call."""

    call: ClientCall


@dataclass(frozen=True, slots=True)
class Over:
    """The client will not reconnect."""

    closed: ConnectionClosed


Effect: TypeAlias = (
    Find | Connect | AbortConnection | Close | Ready | Deliver | Failed | Room | Over
)
