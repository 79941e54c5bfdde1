"""The interface of a client's WebSocket. It needs no aiohttp, so a client can run in a browser."""

from collections.abc import Iterable
from typing import Final, Protocol

CLOSE_TIMEOUT: Final = 2.0
"""Seconds that the service has to answer a close."""


class ClientWebSocket(Protocol):
    """One open connection."""

    async def receive(self) -> bytes | None:
        """Return the next binary frame; None is a sign of life. Raises ConnectionClosed."""

    async def send(self, frames: Iterable[bytes]) -> None:
        """Send these frames in order. Returns early, without an error, if the connection ended."""

    async def close(self, code: int, reason: str) -> None:
        """Close properly: the other side receives what was sent, and the code."""

    def abort(self) -> None:
        """Cut at once and release everything. Required after any end; may be called twice."""


class Dialer(Protocol):
    """Opens connections."""

    async def dial(self, url: str) -> ClientWebSocket:
        """Connect. Raises ConnectionClosed (1006) if nothing answers there."""

    async def close(self) -> None:
        """Release everything."""
