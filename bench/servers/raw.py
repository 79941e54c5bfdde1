"""The floor: frames are counted, and each is answered with the same precomputed bytes.

Without a WebSocket library, protobuf or requests, only the event loop and the system calls remain.
"""

import asyncio
from base64 import b64encode
from hashlib import sha1
from typing import Final, cast

from google.protobuf.any_pb2 import Any
from google.protobuf.wrappers_pb2 import BytesValue

from bench.servers.handlers import WELCOME
from bench.servers.process import run, serve
from callboard.v1.envelope_pb2 import ServerMessage

GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def _frame(payload: bytes) -> bytes:
    return bytes((0x82, len(payload))) + payload


def _answer() -> bytes:
    reply = Any()
    reply.Pack(BytesValue(value=bytes(58)))
    return _frame(ServerMessage(request_id=1, end=True, reply=reply).SerializeToString())


ANSWER: Final = _answer()


class Raw(asyncio.Protocol):
    """One connection: the handshake, the Hello, then answers."""

    def __init__(self) -> None:
        self._data = b""
        self._answer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; the handshake follows."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer all complete frames in one write."""
        assert self._transport is not None
        data = self._data + data
        if not self._answer:
            self._data = data
            if data.endswith(b"\r\n\r\n"):
                self._accept(self._transport)
            return
        count, at = _count(data)
        self._data = data[at:]
        if count:
            self._transport.write(self._answer * count)
            self._answer = ANSWER

    def _accept(self, transport: asyncio.Transport) -> None:
        (key,) = (
            line.partition(b":")[2].strip()
            for line in self._data.split(b"\r\n")
            if line.lower().startswith(b"sec-websocket-key:")
        )
        transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + b64encode(sha1(key + GUID).digest()) + b"\r\n\r\n"
        )
        self._data, self._answer = b"", _frame(WELCOME)


def _count(data: bytes) -> tuple[int, int]:
    """Return the number of complete masked frames below 64 KiB, and where the last one ends."""
    count, at, size = 0, 0, len(data)
    while at + 4 <= size:
        length = data[at + 1] & 127
        end = at + 6 + length
        if length == 126:
            end = at + 8 + int.from_bytes(data[at + 2 : at + 4], "big")
        if end > size:
            break
        count, at = count + 1, end
    return count, at


async def main() -> None:
    """Listen on a free port."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Raw, "127.0.0.1", 0)
    await serve(server.sockets[0].getsockname()[1])


if __name__ == "__main__":
    run(main())
