"""Delivers messages as soon as aiohttp has parsed them, without a task before the session.

aiohttp puts a message into a queue, from which `receive()` takes it two futures and a turn of the
event loop later. Here the queue first offers binary messages to a taker. Pings, pongs, closes and
errors go through the queue as usual.

The connection also leaves aiohttp's HTTP server once it is a WebSocket: `leave` replaces aiohttp's
protocol with its own and tells aiohttp that the connection is over. That frees the request with its
headers, the response, the HTTP parser and two tasks: 9 KiB per connection.

This relies on private names of aiohttp. If one of them has changed
(`transport.server.aiohttp_internals.AVAILABLE` is False), the service works without it, at two
thirds of the speed and with the memory of both.
"""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, cast

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from transport.server.aiohttp_internals import AVAILABLE

if AVAILABLE:
    from aiohttp._websocket.reader import WebSocketDataQueue, WebSocketReader
    from aiohttp.base_protocol import BaseProtocol
    from aiohttp.streams import EofStream

if TYPE_CHECKING:
    from aiohttp._websocket.models import WSMessageTextBytes
    from aiohttp._websocket.writer import WebSocketWriter

AT_ONCE: Final = 256
"""Messages of one read that are taken directly; the others wait their turn in the queue."""

_QUEUE: Final = 64 * 1024
"""Bytes; above twice this much, aiohttp stops reading from the socket."""


class Taker(Protocol):
    """Takes messages directly. heard: set whenever anything was read."""

    heard: bool

    def take(self, data: bytes) -> None:
        """Take a binary message. Must not raise: the caller could not handle it."""


class WebSocket(Protocol):
    """An accepted WebSocket, without its closing handshake."""

    @property
    def transport(self) -> asyncio.Transport | None:
        """What frames are written to; None if the connection has ended."""

    @property
    def stalled(self) -> bool:
        """Return whether the peer does not keep up."""

    async def drain(self) -> None:
        """Wait until the peer keeps up. Raises ConnectionError if the connection has ended."""

    async def receive(self) -> WSMessage:
        """Return the next message that was not taken directly; CLOSED at the end."""

    def take_with(self, taker: Taker) -> None:
        """Pass what arrives while `receive()` waits to `taker`, if that is possible."""

    def take_no_more(self) -> None:
        """Put every message into the queue again."""


@dataclass(slots=True)
class Kept:
    """A WebSocket that stays with aiohttp's HTTP server for as long as its handler runs."""

    socket: web.WebSocketResponse
    request: web.Request

    @property
    def transport(self) -> asyncio.Transport | None:
        """What frames are written to."""
        return self.request.transport

    @property
    def stalled(self) -> bool:
        """Return whether the peer does not keep up."""
        return self.request.protocol.writing_paused

    async def drain(self) -> None:
        """Wait until the peer keeps up."""
        await self.request.writer.drain()

    async def receive(self) -> WSMessage:
        """Return the next message of any kind."""
        return await self.socket.receive()

    def take_with(self, taker: Taker) -> None:
        """Do nothing: every message goes through the queue."""

    def take_no_more(self) -> None:
        """Do nothing."""


if AVAILABLE:
    _BINARY: Final = WSMsgType.BINARY  # a global is found faster than an enum member

    class _Queue(WebSocketDataQueue):
        """A queue that lets binary messages bypass it, up to the first message that cannot.

        From then on all messages go through it, until the reader waits for more (`_Left.receive`).
        """

        __slots__ = ("left", "taker")

        def __init__(self, protocol: BaseProtocol) -> None:
            super().__init__(protocol, _QUEUE, loop=asyncio.get_running_loop())
            self.taker: Taker | None = None
            self.left = AT_ONCE

        def feed_data(self, data: "WSMessage | WSMessageTextBytes", size: int) -> None:
            taker = self.taker
            if taker is None or data[0] is not _BINARY or not self.left:
                self.taker = None  # later messages must queue behind this one
                super().feed_data(data, size)
            else:
                self.left -= 1
                taker.take(data[1])

        def is_empty(self) -> bool:
            return not self._buffer

    class _Left(BaseProtocol):
        """A WebSocket that has left aiohttp's HTTP server; before that, the server's parser."""

        __slots__ = ("_queue", "_reader", "_taker")

        stalled: bool = BaseProtocol._paused  # type: ignore[misc]  # the class's slot
        """The slot itself: the property `writing_paused` would cost a call at each write."""

        def __init__(self, queue: _Queue, reader: WebSocketReader) -> None:
            super().__init__(asyncio.get_running_loop())
            self._upgraded = True
            self._queue = queue
            self._reader = reader
            self._taker: Taker | None = None

        def leave(self, http: web.RequestHandler, transport: asyncio.Transport) -> None:
            """Replace `http` as the connection's protocol."""
            self._paused = http.writing_paused
            self._reading_paused = http._reading_paused
            self._queue._protocol = self
            self.transport = transport
            transport.set_protocol(self)
            http.transport = None  # or it would close the transport
            http.connection_lost(None)

        # -- as aiohttp's parser -------------------------------------------------------------

        def feed_data(self, data: bytes) -> tuple[bool, bytes]:
            return self._reader.feed_data(data)

        def feed_eof(self) -> None:
            if self.transport is None:  # otherwise only the HTTP server's part has ended
                self._reader.feed_eof()

        # -- as the connection's protocol ----------------------------------------------------

        def data_received(self, data: bytes) -> None:
            taker = self._taker
            if taker is not None:
                taker.heard = True
                self._queue.left = AT_ONCE
            self._reader.feed_data(data)

        def connection_lost(self, exc: BaseException | None) -> None:
            super().connection_lost(exc)
            self._reader.feed_eof()
            # What is left in the queue can still be read, and nothing refers to this in a cycle.
            self._queue._protocol = BaseProtocol(self._loop)

        # -- as a WebSocket ------------------------------------------------------------------

        async def drain(self) -> None:
            await self._drain_helper()

        async def receive(self) -> WSMessage:
            queue = self._queue
            if queue.is_empty():
                queue.taker = self._taker
            try:
                return cast("WSMessage", await queue.read())
            except EofStream:
                return WSMessage(WSMsgType.CLOSED, None, None)
            except Exception as error:  # noqa: BLE001 - invalid input, which the caller handles
                return WSMessage(WSMsgType.ERROR, error, None)

        def take_with(self, taker: Taker) -> None:
            self._taker = taker

        def take_no_more(self) -> None:
            self._taker = self._queue.taker = None


class FedWebSocket(web.WebSocketResponse):
    """A WebSocket that can leave the HTTP server that accepted it."""

    _left: "_Left | None" = None

    def leave(self, request: web.Request) -> WebSocket | None:
        """Leave the HTTP server; return None if that is not possible.

        The handler must then return this response at once.
        """
        left, transport = self._left, request.transport
        if left is None or transport is None:
            return None
        left.leave(request.protocol, transport)
        return left

    if AVAILABLE:

        def _post_start(
            self, request: web.BaseRequest, protocol: str | None, writer: "WebSocketWriter"
        ) -> None:
            """Do the same as aiohttp 3.14, with another queue."""
            self._ws_protocol = protocol
            self._writer = writer
            self._reset_heartbeat()
            queue = self._reader = _Queue(request.protocol)
            parser = self._parser = WebSocketReader(
                queue, self._max_msg_size, compress=False, decode_text=True
            )
            left = self._left = _Left(queue, parser)
            request.protocol.set_parser(cast("WebSocketReader", left))
            request.protocol.keep_alive(False)


class UnfedWebSocket(FedWebSocket):
    """A WebSocket whose closing handshake is left to its ServerConnection."""

    def __init__(self, max_message_bytes: int) -> None:
        super().__init__(
            compress=False,
            autoping=False,
            autoclose=False,
            max_msg_size=max_message_bytes + 1,  # aiohttp refuses this size as well
            writer_limit=0,
        )

    async def close(
        self, *, code: int = WSCloseCode.OK, message: bytes = b"", drain: bool = True
    ) -> bool:
        """Do nothing: aiohttp calls this on errors and at the end."""
        return False
