"""What carries a client's frames: a WebSocket of aiohttp's, or whatever else does the same."""

import contextlib
import socket
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from aiohttp import (
    BaseConnector,
    ClientError,
    ClientSession,
    ClientWebSocketResponse,
    ClientWSTimeout,
    DummyCookieJar,
    TCPConnector,
    WSMsgType,
)

from transport.codes import CloseCode
from transport.errors import ConnectionClosed

MAX_ANSWER: Final = 64 * 1024 * 1024
"""Bytes of one frame from the service; a larger one ends the connection with 1009."""

CLOSE_TIMEOUT: Final = 2.0
"""Seconds that the service has to answer a close."""


class Carrier(Protocol):
    """One connection that is open."""

    async def receive(self) -> bytes | None:
        """The next binary frame; None: a sign of life. Raises ConnectionClosed."""

    async def send(self, frames: Iterable[bytes]) -> None:
        """Send these, in order. Returns early, without an error, if the connection has ended."""

    async def close(self, code: int, reason: str) -> None:
        """Close in order: the other side gets what was sent, and the code."""

    def abort(self) -> None:
        """Cut at once, and let go of what is held; due after any end, harmless twice."""


class Dialer(Protocol):
    """Makes connections."""

    async def dial(self, url: str) -> Carrier:
        """Connect. Raises ConnectionClosed (1006) if nothing answers there."""

    async def close(self) -> None:
        """Let go of everything."""


class WebSocketCarrier:
    """A WebSocket."""

    def __init__(self, websocket: "_WebSocket") -> None:
        self._websocket = websocket

    async def receive(self) -> bytes | None:
        """The next binary frame; pings are answered here."""
        message = await self._websocket.receive()
        match message.type:
            case WSMsgType.BINARY:
                data: bytes = message.data
                return data
            case WSMsgType.PING:
                try:
                    await self._websocket.pong(message.data)
                except ConnectionError as error:
                    raise ConnectionClosed(CloseCode.ABNORMAL) from error
                return None
            case WSMsgType.PONG:
                return None
            case WSMsgType.TEXT:
                raise ConnectionClosed(CloseCode.UNSUPPORTED_DATA, "the service sent a text frame")
            case _:
                reason = message.extra if isinstance(message.extra, str) else ""
                code = self._websocket.close_code or CloseCode.ABNORMAL
                raise ConnectionClosed(int(code), reason)

    async def send(self, frames: Iterable[bytes]) -> None:
        """Send these; what ends the connection is for `receive` to tell."""
        try:
            for frame in frames:
                await self._websocket.send_bytes(frame)
        except ConnectionError:
            return

    async def close(self, code: int, reason: str) -> None:
        """The closing handshake, within CLOSE_TIMEOUT."""
        await self._websocket.close(code=code, message=reason.encode())

    def abort(self) -> None:
        """Shut the socket: the other side sees the end, and `receive` does."""
        self._websocket.abort()


class _WebSocket(ClientWebSocketResponse):
    """One that can be cut: aiohttp's own keeps the connection of one that broke until `__del__`."""

    def abort(self) -> None:
        raw = self.get_extra_info("socket")
        if raw is not None:
            with contextlib.suppress(OSError):  # it has ended
                raw.shutdown(socket.SHUT_RDWR)
        self._response.close()


class WebSockets:
    """Dials with one aiohttp session, made when it is first needed.

    connector: what opens its sockets, for a service that is reached in another way than its URL
    says (a Unix socket, a tunnel).
    """

    def __init__(self, connector: Callable[[], BaseConnector] = TCPConnector) -> None:
        self._connector = connector
        self._http: ClientSession | None = None

    async def dial(self, url: str) -> WebSocketCarrier:
        """Open a WebSocket. Raises ConnectionClosed (1006), also where the upgrade is refused."""
        if self._http is None:
            # Neither cookies nor a proxy of the environment's: the token goes to one address.
            self._http = ClientSession(
                connector=self._connector(),
                cookie_jar=DummyCookieJar(),
                trust_env=False,
                ws_response_class=_WebSocket,
            )
        try:
            websocket = await self._http.ws_connect(
                url,
                autoping=False,
                compress=0,
                max_msg_size=MAX_ANSWER,
                timeout=ClientWSTimeout(ws_close=CLOSE_TIMEOUT),
            )
        except (ClientError, OSError, ValueError) as error:
            raise ConnectionClosed(CloseCode.ABNORMAL, str(error)) from error
        assert isinstance(websocket, _WebSocket)
        return WebSocketCarrier(websocket)

    async def close(self) -> None:
        """Close the session."""
        if self._http is not None:
            await self._http.close()
