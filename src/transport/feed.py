"""Messages as soon as aiohttp has parsed them, without a task between the socket and the session.

aiohttp hands a message to a queue, from which `receive()` takes it: two futures and a turn of the
event loop later. Here the queue asks first whether somebody takes binary messages at once, and
tells it when a read has been parsed to its end: then everything that was answered meanwhile goes
out in one write. Pings, pongs, closes and faults go through the queue as ever.

This rests on names that aiohttp keeps for itself: the queue, the parser, `_post_start`. Where one
of them is missing (`AVAILABLE` is False) the service works without, at two thirds of the speed.
"""

import asyncio
import inspect
from typing import TYPE_CHECKING, Final, Protocol, cast

from aiohttp import WSMsgType, web

try:
    from aiohttp._websocket.reader import WebSocketDataQueue, WebSocketReader

    AVAILABLE: Final = list(inspect.signature(web.WebSocketResponse._post_start).parameters) == [
        "self",
        "request",
        "protocol",
        "writer",
    ]
except (ImportError, AttributeError):  # pragma: no cover - an aiohttp to come
    AVAILABLE = False  # type: ignore[misc]  # Final where it was found

if TYPE_CHECKING:
    from aiohttp._websocket.models import WSMessage, WSMessageTextBytes
    from aiohttp._websocket.writer import WebSocketWriter

AT_ONCE: Final = 256
"""Messages of one read that are taken at once; the others wait in the queue, for their turn."""

_QUEUE: Final = 64 * 1024
"""Bytes; over twice of it aiohttp stops to read from the socket."""


class Taker(Protocol):
    """Who takes messages at once."""

    def cork(self) -> None:
        """A read is about to be parsed: what is said meanwhile goes out together."""

    def take(self, data: bytes) -> None:
        """A binary message has come. Must not raise: who called could not."""

    def uncork(self) -> None:
        """The read has been parsed."""


if AVAILABLE:

    class _Queue(WebSocketDataQueue):
        """A queue past which binary messages go while it is empty and somebody takes them."""

        __slots__ = ("left", "taker")

        def __init__(self, protocol: web.RequestHandler) -> None:
            super().__init__(protocol, _QUEUE, loop=asyncio.get_running_loop())
            self.taker: Taker | None = None
            self.left = AT_ONCE

        def feed_data(self, data: "WSMessage | WSMessageTextBytes", size: int) -> None:
            taker = self.taker
            if taker is None or data[0] is not WSMsgType.BINARY or self._buffer or not self.left:
                super().feed_data(data, size)
            else:
                self.left -= 1
                taker.take(data[1])

        def is_empty(self) -> bool:
            return not self._buffer

    class _Parser:
        """aiohttp's parser, and word to the taker round each read."""

        __slots__ = ("_parser", "_queue")

        def __init__(self, queue: _Queue, parser: WebSocketReader) -> None:
            self._queue = queue
            self._parser = parser

        def feed_data(self, data: bytes) -> tuple[bool, bytes]:
            queue = self._queue
            taker = queue.taker
            if taker is None:
                return self._parser.feed_data(data)
            queue.left = AT_ONCE
            taker.cork()
            fed = self._parser.feed_data(data)
            taker.uncork()
            return fed

        def feed_eof(self) -> None:
            self._parser.feed_eof()


class FedSocket(web.WebSocketResponse):
    """A WebSocket whose messages can be taken at once."""

    _queue: "_Queue | None" = None

    def take_with(self, taker: Taker) -> bool:
        """Have `taker` take what comes from now on; False if that cannot be (yet).

        It can when the queue is empty: what stands in it comes first, by `receive()`.
        """
        queue = self._queue
        if queue is None or not queue.is_empty():
            return False
        queue.taker = taker
        return True

    def take_no_more(self) -> None:
        """Put everything into the queue again."""
        if self._queue is not None:
            self._queue.taker = None

    @property
    def can_take(self) -> bool:
        """Messages can be taken at once, when the queue is empty."""
        return self._queue is not None

    if AVAILABLE:

        def _post_start(
            self, request: web.BaseRequest, protocol: str | None, writer: "WebSocketWriter"
        ) -> None:
            """As in aiohttp 3.14, with another queue."""
            self._ws_protocol = protocol
            self._writer = writer
            self._reset_heartbeat()
            queue = self._queue = self._reader = _Queue(request.protocol)
            parser = self._parser = WebSocketReader(
                queue, self._max_msg_size, compress=False, decode_text=True
            )
            request.protocol.set_parser(cast(WebSocketReader, _Parser(queue, parser)))
            request.protocol.keep_alive(False)
