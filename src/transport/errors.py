"""Every error of the transport.

TransportError
├── NotProtobuf        a registered message that is no protobuf message
├── CannotListen       the address cannot be bound
├── CannotPublish      the runtime file cannot be written
├── NotRunning         no service is there to connect to
├── ConnectionClosed   the connection ended; carries the close code
└── RequestFailed      a request ended with an error; a Failure too, with all that it carries
    ├── SessionLost        the session is gone, and the request with it
    └── UnexpectedAnswer   an answer of a type that was not asked for; carries it
"""

from http import HTTPStatus

from google.protobuf.message import Message

from actors.protocol.failure import Code, Failure
from callboard.v1.chat_pb2 import ChatError
from transport.codes import CloseCode


class TransportError(Exception):
    """Base of all errors of this layer. The text is for a person to read."""


class NotProtobuf(TransportError):
    """A message was registered that the wire cannot carry."""


class CannotListen(TransportError):
    """The address is taken, or not this machine's."""


class CannotPublish(TransportError):
    """The runtime file cannot be written where it belongs."""


class NotRunning(TransportError):
    """No runtime file names a living service."""


class ConnectionClosed(TransportError):
    """The connection ended before what was asked for had come.

    `code`: the close code; 1006 where there was none (RFC 6455, section 7.1.5). `status`: of the
    HTTP answer that refused the WebSocket; 0 if none did.
    """

    def __init__(self, code: int, reason: str = "", *, status: int = 0) -> None:
        super().__init__(f"connection closed ({code}{': ' + reason if reason else ''})")
        self.code = code
        self.reason = reason
        self.status = status

    @property
    def busy(self) -> bool:
        """Whether the service is there but takes no client in now, being full or shutting down."""
        return self.status == HTTPStatus.SERVICE_UNAVAILABLE or self.code == CloseCode.GOING_AWAY


class RequestFailed(Failure, TransportError):
    """A request of this client's ended with an error: the service's, or the client's own.

    As `Failure`: `code`, `message`, `retryable`, `retry_after_ms`.
    """

    @property
    def error(self) -> ChatError:
        """The same as the contract says it."""
        return ChatError(
            code=self.code.value,
            message=self.message,
            retryable=self.retryable,
            retry_after_ms=self.retry_after_ms,
        )

    @property
    def retry_after(self) -> float:
        """Seconds that should pass before the same request is sent again; 0: no advice."""
        return self.retry_after_ms / 1000


def request_failed(error: ChatError) -> RequestFailed:
    """What the service said. A code that is unknown here is INTERNAL, and named."""
    try:
        code, message = Code(error.code), error.message
    except ValueError:
        code, message = Code.INTERNAL, f"{error.code}: {error.message}"
    return RequestFailed(
        code, message, retryable=error.retryable, retry_after_ms=error.retry_after_ms
    )


class SessionLost(RequestFailed):
    """The service does not have the session any more: it was away too long, or started anew.

    What the request did until then is not known.
    """

    def __init__(self) -> None:
        text = "the session was lost, and the request with it"
        super().__init__(Code.UNAVAILABLE, text, retryable=True)


class UnexpectedAnswer(RequestFailed):
    """The service answered with a type that was not asked for; `answer` is what came."""

    def __init__(self, answer: Message) -> None:
        name = answer.DESCRIPTOR.name
        super().__init__(Code.INTERNAL, f"the service answered with {name}, which was not expected")
        self.answer = answer
