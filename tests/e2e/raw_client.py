"""A WebSocket client without a library: it sends and reads only when it is told to."""

import asyncio
import contextlib
from typing import Any

from tests.e2e.contract_client import message, parse


class RawClient:
    """Sends without waiting for the peer, and reads a frame only when a test asks for it."""

    def __init__(self, port: int, token: str, **hello: Any) -> None:
        self._port = port
        self._hello = message("Hello", token=token, **hello)

    async def connect(self) -> Any:
        """Connect, shake hands and return the Welcome."""
        # The smallest limit makes asyncio read ahead as little as possible.
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1)
        self._writer.write(
            f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        received = b""
        while not received.endswith(b"\r\n\r\n"):
            received += await self._reader.readexactly(1)
        self.send(0, hello=self._hello)
        _, data = await self.frame()
        return parse("ServerMessage", data).welcome

    def send(self, request_id: int, **payload: Any) -> None:
        """Send a message."""
        self.write(self.framed(request_id, **payload))

    def write(self, frames: bytes) -> None:
        """Send encoded frames in one write."""
        self._writer.write(frames)

    def framed(self, request_id: int, **payload: Any) -> bytes:
        """Encode a message of less than 64 KiB as a frame, masked with zeros."""
        envelope = message("ClientMessage", request_id=request_id, **payload)
        data: bytes = envelope.SerializeToString()
        length = len(data)
        size = bytes((0x80 | length,)) if length < 126 else b"\xfe" + length.to_bytes(2, "big")
        return b"\x82" + size + bytes(4) + data

    async def frame(self) -> tuple[int, bytes]:
        """Read the next frame and return its opcode and payload."""
        first, length = await self._reader.readexactly(2)
        if length == 126:
            length = int.from_bytes(await self._reader.readexactly(2), "big")
        return first & 0x0F, await self._reader.readexactly(length)

    async def answer(self) -> Any:
        """Read the next message."""
        opcode, data = await self.frame()
        assert opcode == 2, (opcode, data)
        return parse("ServerMessage", data)

    async def close_code(self) -> int:
        """Read up to the close frame and return its code."""
        while True:
            opcode, data = await self.frame()
            if opcode == 8:
                return int.from_bytes(data[:2], "big")

    async def close(self) -> None:
        """Cut the connection off, without a close frame."""
        self._writer.transport.abort()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
