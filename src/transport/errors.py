"""Every error of the transport.

TransportError
├── NotProtobuf        a registered message that is no protobuf message
├── CannotListen       the address cannot be bound
├── CannotPublish      the runtime file cannot be written
├── NotRunning         no service is there to connect to
└── ConnectionClosed   the connection ended; carries the close code
"""


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

    `code`: the close code; 1006 where there was none (RFC 6455, section 7.1.5).
    """

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"connection closed ({code}{': ' + reason if reason else ''})")
        self.code = code
        self.reason = reason
