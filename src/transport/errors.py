"""All errors of the transport.

TransportError
├── NotProtobuf        a registered message is not a protobuf message
├── CannotListen       the service cannot listen at the address
├── CannotPublish      the runtime file cannot be written
├── NotRunning         there is no service to connect to
├── ConnectionClosed   the connection ended; carries the close code
└── RequestFailed      a request ended with an error; also a Failure, with all its fields
    ├── SessionLost        the session was lost, and the request with it
    └── UnexpectedAnswer   an answer of a type that was not asked for; carries it
"""

from http import HTTPStatus

from google.protobuf.message import Message

from actors.protocol.failure import Code, Failure
from callboard.v1.chat_pb2 import ChatError
from transport.codes import CloseCode


class TransportError(Exception):
    """The base of all errors of this layer. The text is for people to read."""


class NotProtobuf(TransportError):
    """A message was registered that the wire format cannot carry."""


class CannotListen(TransportError):
    """The service cannot listen: its address, certificate or socket path is not usable."""


class CannotPublish(TransportError):
    """The runtime file cannot be written where it belongs."""


class NotRunning(TransportError):
    """No runtime file names a running service."""


class ConnectionClosed(TransportError):
    """The connection ended before the expected answer had come.

    `code`: the close code; 1006 if there was none (RFC 6455, section 7.1.5). `status`: that of the
    HTTP response that refused the WebSocket; 0 if none did.
    """

    def __init__(self, code: int, reason: str = "", *, status: int = 0) -> None:
        super().__init__(f"connection closed ({code}{': ' + reason if reason else ''})")
        self.code = code
        self.reason = reason
        self.status = status

    @property
    def busy(self) -> bool:
        """Whether the service is there but admits no client now, as it is full or shutting down."""
        return self.status == HTTPStatus.SERVICE_UNAVAILABLE or self.code == CloseCode.GOING_AWAY


class RequestFailed(Failure, TransportError):
    """A request of this client ended with an error, from the service or from the client itself.

    It has the fields of `Failure`: `code`, `message`, `retryable`, `retry_after_ms`.
    """

    @property
    def error(self) -> ChatError:
        """The same error as a message of the contract."""
        return ChatError(
            code=self.code.value,
            message=self.message,
            retryable=self.retryable,
            retry_after_ms=self.retry_after_ms,
        )

    @property
    def retry_after(self) -> float:
        """Seconds to wait before sending the same request again; 0: no advice."""
        return self.retry_after_ms / 1000


def request_failed(error: ChatError) -> RequestFailed:
    """Return the error that the service sent; an unknown code becomes INTERNAL and is named."""
    try:
        code, message = Code(error.code), error.message
    except ValueError:
        code, message = Code.INTERNAL, f"{error.code}: {error.message}"
    return RequestFailed(
        code, message, retryable=error.retryable, retry_after_ms=error.retry_after_ms
    )


class SessionLost(RequestFailed):
    """The session is gone: the client was away too long, or the service restarted.

    What the request did until then is not known.
    """

    def __init__(self) -> None:
        text = "the session was lost, and the request with it"
        super().__init__(Code.UNAVAILABLE, text, retryable=True)


class UnexpectedAnswer(RequestFailed):
    """The service sent an answer of a type that was not asked for; `answer` is that answer."""

    def __init__(self, answer: Message) -> None:
        name = answer.DESCRIPTOR.name
        super().__init__(Code.INTERNAL, f"the service unexpectedly answered with {name}")
        self.answer = answer
