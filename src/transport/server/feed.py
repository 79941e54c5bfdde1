"""Messages as soon as aiohttp has parsed them, without a task between the socket and the session.

aiohttp hands a message to a queue, from which `receive()` takes it: two futures and a turn of the
event loop later. Here the queue asks first whether somebody takes binary messages at once. Pings,
pongs, closes and faults go through the queue as ever.

And the connection leaves aiohttp's HTTP server once it is a WebSocket: `leave` puts a protocol of
its own in the place of aiohttp's, which is told that its connection is over. The request with its
headers, the response, the HTTP parser and two tasks, 9 KiB a connection, end there.

This rests on names that aiohttp keeps for itself. Where one of them is not what it was
(`transport.server.aiohttp_internals.AVAILABLE` is False) the service works without, at two thirds
of the speed and with the memory of both.
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
"""Messages of one read that are taken at once; the others wait in the queue, for their turn."""

_QUEUE: Final = 64 * 1024
"""Bytes; over twice of it aiohttp stops to read from the socket."""


class Taker(Protocol):
    """Who takes messages at once. heard: set when something was read, whatever it was."""

    heard: bool

    def take(self, data: bytes) -> None:
        """A binary message has come. Must not raise: who called could not."""


class WebSocket(Protocol):
    """An accepted WebSocket, without its closing handshake."""

    @property
    def transport(self) -> asyncio.Transport | None:
        """What frames are written to; None: the connection has ended."""

    @property
    def stalled(self) -> bool:
        """The peer does not keep up."""

    async def drain(self) -> None:
        """Wait until the peer keeps up. Raises ConnectionError when the connection has ended."""

    async def receive(self) -> WSMessage:
        """What nobody takes at once; CLOSED at the end."""

    def take_with(self, taker: Taker) -> None:
        """Have `taker` take what comes while `receive()` waits, if that can be."""

    def take_no_more(self) -> None:
        """Put everything into the queue again."""


@dataclass(slots=True)
class Kept:
    """A line that aiohttp's HTTP server keeps, for as long as its handler runs."""

    socket: web.WebSocketResponse
    request: web.Request

    @property
    def transport(self) -> asyncio.Transport | None:
        """What frames are written to."""
        return self.request.transport

    @property
    def stalled(self) -> bool:
        """The peer does not keep up."""
        return self.request.protocol.writing_paused

    async def drain(self) -> None:
        """Wait until it does."""
        await self.request.writer.drain()

    async def receive(self) -> WSMessage:
        """The next message of any kind."""
        return await self.socket.receive()

    def take_with(self, taker: Taker) -> None:
        """It cannot be."""

    def take_no_more(self) -> None:
        """Nothing is."""


if AVAILABLE:
    _BINARY: Final = WSMsgType.BINARY  # what is in a global is found sooner than in an enum

    class _Queue(WebSocketDataQueue):
        """A queue past which binary messages go, up to the first that does not.

        From then on all go through it, until the reader waits for more (`_Left.receive`).
        """

        __slots__ = ("left", "taker")

        def __init__(self, protocol: BaseProtocol) -> None:
            super().__init__(protocol, _QUEUE, loop=asyncio.get_running_loop())
            self.taker: Taker | None = None
            self.left = AT_ONCE

        def feed_data(self, data: "WSMessage | WSMessageTextBytes", size: int) -> None:
            taker = self.taker
            if taker is None or data[0] is not _BINARY or not self.left:
                self.taker = None  # what comes next is behind this one
                super().feed_data(data, size)
            else:
                self.left -= 1
                taker.take(data[1])

        def is_empty(self) -> bool:
            return not self._buffer

    class _Left(BaseProtocol):
        """A line that has left aiohttp's HTTP server, or is to: until then it is its parser."""

        __slots__ = ("_queue", "_reader", "_taker")

        stalled: bool = BaseProtocol._paused  # type: ignore[misc]  # on the class: its slot
        """The slot itself: the property beside it is a call more, at each write."""

        def __init__(self, queue: _Queue, reader: WebSocketReader) -> None:
            super().__init__(asyncio.get_running_loop())
            self._upgraded = True
            self._queue = queue
            self._reader = reader
            self._taker: Taker | None = None

        def leave(self, http: web.RequestHandler, transport: asyncio.Transport) -> None:
            """Be the connection's protocol, in place of that one."""
            self._paused = http.writing_paused
            self._reading_paused = http._reading_paused
            self._queue._protocol = self
            self.transport = transport
            transport.set_protocol(self)
            http.transport = None  # else it would close it
            http.connection_lost(None)

        # -- as aiohttp's parser -------------------------------------------------------------

        def feed_data(self, data: bytes) -> tuple[bool, bytes]:
            return self._reader.feed_data(data)

        def feed_eof(self) -> None:
            if self.transport is None:  # else it is but the HTTP server's end of it
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

        # -- as a line -----------------------------------------------------------------------

        async def drain(self) -> None:
            await self._drain_helper()

        async def receive(self) -> WSMessage:
            queue = self._queue
            if queue.is_empty():
                queue.taker = self._taker
            try:
                return cast(WSMessage, await queue.read())
            except EofStream:
                return WSMessage(WSMsgType.CLOSED, None, None)
            except Exception as error:  # noqa: BLE001 - what came could not be read; judged there
                return WSMessage(WSMsgType.ERROR, error, None)

        def take_with(self, taker: Taker) -> None:
            self._taker = taker

        def take_no_more(self) -> None:
            self._taker = self._queue.taker = None


class FedWebSocket(web.WebSocketResponse):
    """A WebSocket that can leave the HTTP server which has accepted it."""

    _left: "_Left | None" = None

    def leave(self, request: web.Request) -> WebSocket | None:
        """Go on without the handler, which is to return this response now; None: it cannot be."""
        left, transport = self._left, request.transport
        if left is None or transport is None:
            return None
        left.leave(request.protocol, transport)
        return left

    if AVAILABLE:

        def _post_start(
            self, request: web.BaseRequest, protocol: str | None, writer: "WebSocketWriter"
        ) -> None:
            """As in aiohttp 3.14, with another queue."""
            self._ws_protocol = protocol
            self._writer = writer
            self._reset_heartbeat()
            queue = self._reader = _Queue(request.protocol)
            parser = self._parser = WebSocketReader(
                queue, self._max_msg_size, compress=False, decode_text=True
            )
            left = self._left = _Left(queue, parser)
            request.protocol.set_parser(cast(WebSocketReader, left))
            request.protocol.keep_alive(False)


class UnfedWebSocket(FedWebSocket):
    """A WebSocket whose closing handshake is its connection's affair."""

    def __init__(self, max_message_bytes: int) -> None:
        super().__init__(
            compress=False,
            autoping=False,
            autoclose=False,
            max_msg_size=max_message_bytes + 1,  # aiohttp refuses this size too
            writer_limit=0,
        )

    async def close(
        self, *, code: int = WSCloseCode.OK, message: bytes = b"", drain: bool = True
    ) -> bool:
        """Nothing: aiohttp calls it on errors, and at the end."""
        return False
