"""The client side of a WebSocket, as cheap as a client in Python can be.

Frames are encoded before the clock runs. Received frames are counted by their headers and not
decoded. Sent frames are masked with a key of zeros (RFC 6455, section 5.3: the service unmasks them
all the same).
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar, cast
from urllib.parse import urlsplit

from callboard.v1.envelope_pb2 import ClientMessage, ServerMessage
from callboard.v1.session_pb2 import Hello

if TYPE_CHECKING:
    import socket as sockets

_MASK = bytes(4)
_BINARY = 0x82
_CLOSE = 0x88
_PING = 0x89
_PONG = 0x8A
_KEY = "AAAAAAAAAAAAAAAAAAAAAA=="


S = TypeVar("S", bound="Socket")


class Lost(Exception):
    """The server closed the connection, or never accepted it."""


def frame(message: ClientMessage) -> bytes:
    """Return the bytes of one message on the wire."""
    return masked(_BINARY, message.SerializeToString())


def masked(opcode: int, payload: bytes) -> bytes:
    """Return one frame of a client."""
    length = len(payload)
    if length < 126:
        head = bytes((opcode, 0x80 | length))
    elif length < 65536:
        head = bytes((opcode, 0x80 | 126)) + length.to_bytes(2, "big")
    else:
        head = bytes((opcode, 0x80 | 127)) + length.to_bytes(8, "big")
    return head + _MASK + payload


class Socket(asyncio.Protocol):
    """One connection: it counts the messages received and reports them to `on_answers`."""

    reads = False

    def __init__(self) -> None:
        self.last = b""
        """The last message received."""
        self.seen = 0
        self._tail = b""
        self._transport: asyncio.Transport | None = None
        self._accepted = False
        self._upgraded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wanted = 0
        self._waiter: asyncio.Future[None] | None = None
        self._error: Lost | None = None

    # -- used by workloads -------------------------------------------------------------------

    async def accepted(self) -> None:
        """Wait until the server has accepted the upgrade with status 101. Raises Lost."""
        await self._upgraded

    async def until(self, seen: int) -> None:
        """Wait until `seen` messages have come in total. Raises Lost."""
        self._wanted = seen
        if self._error is not None:
            raise self._error
        if self.seen < seen:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def be_done(self) -> None:
        """Let `until` return once the data at hand has been read, however many messages came."""
        self._wanted = 0

    def send(self, data: bytes) -> None:
        """Write encoded frames."""
        assert self._transport is not None
        self._transport.write(data)

    def on_answers(self, count: int) -> None:
        """Handle `count` more messages; workloads override this."""

    def on_message(self, message: bytes) -> None:
        """Handle one message; called only if `reads` is set."""

    def hand_over(self) -> int:
        """Stop reading for good, and return the descriptor for whoever goes on."""
        assert self._transport is not None
        self._transport.pause_reading()
        socket: sockets.socket = self._transport.get_extra_info("socket")
        return socket.fileno()

    def close(self) -> None:
        """Send a close frame with code 1000, and close the connection."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(masked(_CLOSE, (1000).to_bytes(2, "big")))
            self._transport.close()

    def abort(self) -> None:
        """Abort the connection without a close frame."""
        if self._transport is not None:
            self._transport.abort()

    # -- the protocol ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Request the upgrade."""
        self._transport = cast("asyncio.Transport", transport)
        host, port = transport.get_extra_info("peername")[:2]
        self.send(
            f"GET /ws HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {_KEY}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        """Count the frames."""
        if self._tail:
            data = self._tail + data
            self._tail = b""
        position = 0
        if not self._accepted:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._tail = data
                return
            if b" 101 " not in data[:16]:
                self._fail(data[:end].decode(errors="replace").splitlines()[0])
                return
            self._accepted = True
            self._upgraded.set_result(None)
            position = end + 4
        size = len(data)
        count = 0
        start = stop = position
        while position + 2 <= size:
            length = data[position + 1]
            begin = position + 2
            if length > 125:
                wide = 2 if length == 126 else 8
                if begin + wide > size:
                    break
                length = int.from_bytes(data[begin : begin + wide], "big")
                begin += wide
            end = begin + length
            if end > size:
                break
            if data[position] != _BINARY:
                self._control(data[position], data[begin:end])
            else:
                count += 1
                start, stop = begin, end
                if self.reads:
                    self.on_message(data[begin:end])
            position = end
        if position < size:
            self._tail = data[position:]
        if count:
            self.last = data[start:stop]
            self.seen += count
            self.on_answers(count)
            if self._waiter is not None and self.seen >= self._wanted and not self._waiter.done():
                self._waiter.set_result(None)

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == _PING:
            self.send(masked(_PONG, payload))
        elif opcode == _CLOSE:
            self._fail(f"closed with {int.from_bytes(payload[:2], 'big')} {payload[2:]!r}")

    def connection_lost(self, exc: Exception | None) -> None:
        """Raise Lost in whoever waits."""
        self._fail(f"connection lost: {exc}")

    def _fail(self, reason: str) -> None:
        if self._error is None:
            self._error = Lost(reason)
            if not self._upgraded.done():
                self._upgraded.set_exception(self._error)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(self._error)


async def connect(
    url: str,
    token: str,
    make: Callable[[], S],
    *,
    credit: int = 0,
    features: Sequence[str] = (),
) -> S:
    """Open a connection and a session on it. Raises Lost, OSError."""
    where = urlsplit(url)
    loop = asyncio.get_running_loop()
    assert where.hostname is not None
    assert where.port is not None
    _, socket = await loop.create_connection(make, where.hostname, where.port)
    await socket.accepted()
    hello = Hello(
        token=token,
        protocol_version=1,
        acknowledges=True,
        initial_credit=credit,
        features=features,
    )
    socket.send(frame(ClientMessage(hello=hello)))
    await socket.until(1)
    if ServerMessage.FromString(socket.last).WhichOneof("payload") != "welcome":
        raise Lost("no Welcome")
    return socket
