"""The private names of aiohttp that `transport.server.feed` uses, and a check that they still work.

aiohttp may change them in any release. `AVAILABLE` is the only switch: if anything is different,
the service uses aiohttp's public interface alone (`docs/adr/0023-*`).
"""

import inspect
from typing import TYPE_CHECKING, Final, cast

from aiohttp import web

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

_A_BYTE: Final = b"\x82\x81\0\0\0\0a"
"""A WebSocket frame as a client sends it: binary, masked with zeros."""

_SLOTS: Final = frozenset({"_paused", "_reading_paused", "_upgraded", "transport"})
_OF_RESPONSE: Final = ("_ws_protocol", "_writer", "_reader", "_max_msg_size", "_reset_heartbeat")
_OF_HANDLER: Final = ("set_parser", "keep_alive", "writing_paused", "connection_lost", "transport")


def is_as_expected() -> bool:
    """Return whether every name exists, takes the expected arguments and behaves as expected."""
    try:
        return _has_names() and _parses()
    except (ImportError, AttributeError, TypeError, ValueError):
        return False


def _has_names() -> bool:
    from aiohttp.base_protocol import BaseProtocol
    from aiohttp.streams import EofStream

    response = web.WebSocketResponse()
    return (
        set(BaseProtocol.__slots__) >= _SLOTS
        and issubclass(EofStream, Exception)
        and inspect.iscoroutinefunction(BaseProtocol._drain_helper)
        and _parameters(response._post_start) == ["request", "protocol", "writer"]
        and all(hasattr(response, name) for name in _OF_RESPONSE)
        and all(hasattr(web.RequestHandler, name) for name in _OF_HANDLER)
    )


def _parameters(function: "Callable[..., object]") -> list[str]:
    return list(inspect.signature(function).parameters)


def _parses() -> bool:
    """Return whether a frame passes through the parser and the queue, without a connection."""
    from aiohttp._websocket.reader import WebSocketDataQueue, WebSocketReader
    from aiohttp.base_protocol import BaseProtocol

    loop = cast("asyncio.AbstractEventLoop", None)  # nothing waits on it
    protocol = BaseProtocol(loop)
    queue = WebSocketDataQueue(protocol, 1024, loop=loop)
    reader = WebSocketReader(queue, 1024, compress=False, decode_text=True)
    empty, ours = not queue._buffer, queue._protocol is protocol
    reader.feed_data(_A_BYTE)
    reader.feed_eof()
    return empty and ours and bool(queue._buffer)


AVAILABLE: Final = is_as_expected()
"""Whether `transport.server.feed` may use them."""
