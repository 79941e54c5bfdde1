"""The WebSocket of a client that runs in Python: aiohttp's."""

import contextlib
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from aiohttp import (
    BaseConnector,
    ClientError,
    ClientSession,
    ClientSSLError,
    ClientWebSocketResponse,
    ClientWSTimeout,
    DummyCookieJar,
    TCPConnector,
    UnixConnector,
    WSMsgType,
    WSServerHandshakeError,
)

from transport.address import route
from transport.client.websocket import CLOSE_TIMEOUT
from transport.codes import CloseCode
from transport.errors import ConnectionClosed

MAX_ANSWER: Final = 64 * 1024 * 1024
"""Bytes of one frame from the service; a larger one ends the connection with 1009."""

NO_WEBSOCKET: Final = "answers HTTP"
"""The start of the reason if the WebSocket is refused; the HTTP status follows."""


class AiohttpWebSocket:
    """A WebSocket of aiohttp."""

    def __init__(self, websocket: "_WebSocket", max_answer: int) -> None:
        self._websocket = websocket
        self._max_answer = max_answer

    async def receive(self) -> bytes | None:
        """Return the next binary frame; pings are answered here."""
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
                if message.type is WSMsgType.ERROR and code == CloseCode.TOO_BIG:
                    reason = f"the service sent more than {self._max_answer} bytes in one message"
                raise ConnectionClosed(int(code), reason)

    async def send(self, frames: Iterable[bytes]) -> None:
        """Send these frames; an end of the connection is reported by `receive`."""
        try:
            for frame in frames:
                await self._websocket.send_bytes(frame)
        except ConnectionError:
            return

    async def close(self, code: int, reason: str) -> None:
        """Perform the closing handshake, within CLOSE_TIMEOUT."""
        await self._websocket.close(code=code, message=reason.encode())

    def abort(self) -> None:
        """Shut down the socket, so that the other side and `receive` see the end."""
        self._websocket.abort()


class _WebSocket(ClientWebSocketResponse):
    """A WebSocket that can be cut; aiohttp keeps a broken one's connection until `__del__`."""

    def abort(self) -> None:
        raw = self.get_extra_info("socket")
        if raw is not None:
            with contextlib.suppress(OSError):  # it has already ended
                raw.shutdown(socket.SHUT_RDWR)
        self._response.close()


class WebSockets:
    """Dials over TCP or Unix sockets, with one aiohttp session for TCP and one per Unix socket.

    connector: opens the TCP sockets, if they lead elsewhere than the URL says (a tunnel).
    max_answer: the largest message accepted, in bytes. A service may be configured to send up to
    MAX_ANSWER (Limits.max_answer_bytes).
    """

    def __init__(
        self,
        connector: Callable[[], BaseConnector] = TCPConnector,
        *,
        max_answer: int = MAX_ANSWER,
    ) -> None:
        self._connector = connector
        self._max_answer = max_answer
        self._sessions: dict[Path | None, ClientSession] = {}

    async def dial(self, url: str) -> AiohttpWebSocket:
        """Open a WebSocket.

        Raises ConnectionClosed: 1015 if the certificate is not trusted, 1006 for any other failure,
        including a refused upgrade.
        """
        unix_socket, target = route(url)
        try:
            websocket = await self._session(unix_socket).ws_connect(
                target,
                autoping=False,
                compress=0,
                max_msg_size=self._max_answer + 1,  # aiohttp refuses this size as well
                timeout=ClientWSTimeout(ws_close=CLOSE_TIMEOUT),
            )
        except WSServerHandshakeError as error:
            reason = f"{NO_WEBSOCKET} {error.status}"
            raise ConnectionClosed(CloseCode.ABNORMAL, reason, status=error.status) from error
        except ClientSSLError as error:
            raise ConnectionClosed(CloseCode.TLS_FAILED, str(error)) from error
        except (ClientError, OSError, ValueError) as error:
            raise ConnectionClosed(CloseCode.ABNORMAL, str(error)) from error
        assert isinstance(websocket, _WebSocket)
        return AiohttpWebSocket(websocket, self._max_answer)

    def _session(self, unix_socket: Path | None) -> ClientSession:
        session = self._sessions.get(unix_socket)
        if session is None:
            way = self._connector() if unix_socket is None else UnixConnector(str(unix_socket))
            # No cookies and no proxy from the environment: the token goes to one address only.
            session = self._sessions[unix_socket] = ClientSession(
                connector=way,
                cookie_jar=DummyCookieJar(),
                trust_env=False,
                ws_response_class=_WebSocket,
            )
        return session

    async def close(self) -> None:
        """Close the sessions."""
        for session in self._sessions.values():
            await session.close()
