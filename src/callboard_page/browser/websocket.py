"""The browser's WebSocket, for the reference client."""

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Final

from js import WebSocket
from pyodide.ffi import JsException, JsProxy, create_proxy, to_js

from transport.client.websocket import CLOSE_TIMEOUT
from transport.codes import CloseCode
from transport.errors import ConnectionClosed

OPEN_TIMEOUT: Final = 10.0
"""Seconds. A URL that the page's policy forbids gives no event at all."""

SLICE: Final = 0.012
"""Seconds of work on frames that have arrived, after which the browser may draw."""

_OPEN: Final = 1
"""WebSocket.readyState."""


class BrowserWebSocket:
    """One connection. Its handlers' proxies live until `abort`."""

    def __init__(self, url: str) -> None:
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = loop.create_future()
        self._ended: asyncio.Future[ConnectionClosed] = loop.create_future()
        self._arrived: deque[bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._aborted = False
        self._time = loop.time
        self._since = loop.time()
        self._socket = WebSocket.new(url)
        self._socket.binaryType = "arraybuffer"
        self._proxies = {
            "open": create_proxy(self._on_open),
            "message": create_proxy(self._on_message),
            "close": create_proxy(self._on_close),
        }
        for kind, proxy in self._proxies.items():
            self._socket.addEventListener(kind, proxy)

    def _on_open(self, _: JsProxy) -> None:
        if not self.opened.done():
            self.opened.set_result(None)

    def _on_message(self, event: JsProxy) -> None:
        data = event.data
        if isinstance(data, str):
            self._end(ConnectionClosed(CloseCode.UNSUPPORTED_DATA, "the service sent a text frame"))
            return
        self._arrived.append(data.to_bytes())
        self._wake()

    def _on_close(self, event: JsProxy) -> None:
        self._end(ConnectionClosed(event.code, event.reason))

    def _end(self, closed: ConnectionClosed) -> None:
        if not self._ended.done():
            self._ended.set_result(closed)
        self._on_open_failed(closed)
        self._wake()

    def _on_open_failed(self, closed: ConnectionClosed) -> None:
        if not self.opened.done():
            self.opened.set_exception(closed)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def receive(self) -> bytes | None:
        """Return the next binary frame. Raises ConnectionClosed."""
        await self._let_the_browser_work()
        while not self._arrived:
            if self._ended.done():
                raise self._ended.result()
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
            self._since = self._time()
        return self._arrived.popleft()

    async def _let_the_browser_work(self) -> None:
        """Return to the browser now and then: frames that have arrived would keep it waiting."""
        if self._time() - self._since > SLICE:
            await asyncio.sleep(0)
            self._since = self._time()

    async def send(self, frames: Iterable[bytes]) -> None:
        """Send these frames in order; an end of the connection is reported by `receive`."""
        for frame in frames:
            if self._socket.readyState != _OPEN:
                return
            self._socket.send(to_js(frame))  # bytes themselves would become a text frame

    async def close(self, code: int, reason: str) -> None:
        """Close properly. The browser allows only 1000 and codes of applications."""
        allowed = code if code == CloseCode.NORMAL or 3000 <= code <= 4999 else CloseCode.NORMAL
        self._socket.close(int(allowed), reason)
        await asyncio.wait([self._ended], timeout=CLOSE_TIMEOUT)

    def abort(self) -> None:
        """Close without waiting, and release the handlers. A browser cannot cut."""
        if self._aborted:
            return
        self._aborted = True
        self._end(ConnectionClosed(CloseCode.ABNORMAL))
        self.opened.cancelled() or self.opened.exception()
        for kind, proxy in self._proxies.items():
            self._socket.removeEventListener(kind, proxy)
            proxy.destroy()
        self._socket.close()


class BrowserWebSockets:
    """Opens connections with the browser's WebSocket."""

    async def dial(self, url: str) -> BrowserWebSocket:
        """Connect. Raises ConnectionClosed (1006) if nothing answers there."""
        try:
            websocket = BrowserWebSocket(url)
        except JsException as error:
            raise ConnectionClosed(CloseCode.ABNORMAL, str(error)) from error
        try:
            await asyncio.wait_for(asyncio.shield(websocket.opened), OPEN_TIMEOUT)
        except TimeoutError as error:
            websocket.abort()
            raise ConnectionClosed(CloseCode.ABNORMAL, "nothing answered in time") from error
        except BaseException:
            websocket.abort()
            raise
        return websocket

    async def close(self) -> None:
        """Release nothing: each connection releases what it has."""
