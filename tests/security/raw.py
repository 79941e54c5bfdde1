"""An attacker's client: it writes bytes to a socket, also those that a library would refuse."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import psutil

from tests.e2e.contract_client import message, parse
from tests.e2e.service_process import ServiceProcess

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
FIN, RSV1 = 0x80, 0x40
PATIENCE = 20.0


class Target(Protocol):
    """A service on this machine: its port and its token."""

    @property
    def port(self) -> int: ...

    @property
    def token(self) -> str: ...


def frame(payload: bytes = b"", opcode: int = BINARY, bits: int = FIN) -> bytes:
    """Encode a masked frame (RFC 6455, section 5.2); the mask is zero."""
    size = len(payload)
    if size < 126:
        head = bytes((bits | opcode, 0x80 | size))
    elif size < 65536:
        head = struct.pack("!BBH", bits | opcode, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", bits | opcode, 0x80 | 127, size)
    return head + bytes(4) + payload


def client_message(request_id: int = 0, **payload: Any) -> bytes:
    """Encode a ClientMessage."""
    data: bytes = message("ClientMessage", request_id=request_id, **payload).SerializeToString()
    return data


def hello(token: str, **fields: Any) -> bytes:
    """Encode a ClientMessage with a Hello."""
    return client_message(hello=message("Hello", token=token, protocol_version=1, **fields))


def upgrade(
    host: str, headers: Sequence[tuple[str, str]] = (), path: str = "/ws", *, named: bool = True
) -> bytes:
    """Encode a request for a WebSocket; with `named`, it has the header `Host: host`."""
    lines = [f"GET {path} HTTP/1.1"]
    if named:
        lines.append(f"Host: {host}")
    lines += ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
    lines.append("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


@dataclass
class Raw:
    """A connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *data: bytes) -> None:
        self.writer.write(b"".join(data))
        await self.writer.drain()

    async def response(self) -> tuple[int, dict[str, str]]:
        """Read the head of the HTTP response; return its status and headers."""
        async with asyncio.timeout(PATIENCE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *rest = head.rstrip().split("\r\n")
        return int(first.split()[1]), dict(line.lower().split(": ", 1) for line in rest)

    async def frame(self) -> tuple[int, bytes]:
        """Return opcode and payload of the next frame; ConnectionError if there is none."""
        try:
            async with asyncio.timeout(PATIENCE):
                first, second = await self.reader.readexactly(2)
                size = second & 0x7F
                if size == 126:
                    (size,) = struct.unpack("!H", await self.reader.readexactly(2))
                elif size == 127:
                    (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
                return first & 0x0F, await self.reader.readexactly(size)
        except asyncio.IncompleteReadError:
            raise ConnectionResetError("the service ended the connection") from None

    async def answer(self) -> Any:
        """Return the next ServerMessage."""
        while True:
            opcode, payload = await self.frame()
            if opcode == BINARY:
                return parse("ServerMessage", payload)
            assert opcode in (PING, PONG), f"closed: {payload!r}"

    async def close_code(self) -> int:
        """Read to the end; return the close code, or 1006 if there is no close frame."""
        with contextlib.suppress(ConnectionError):
            while True:
                opcode, payload = await self.frame()
                if opcode == CLOSE:
                    (code,) = struct.unpack("!H", payload[:2])
                    assert isinstance(code, int)
                    return code
        return 1006

    async def end(self) -> None:
        """Wait until the service has ended the connection."""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(PATIENCE):
                while await self.reader.read(65536):
                    pass

    def reset(self) -> None:
        """End the connection with RST, as after a crash."""
        connection = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@contextlib.asynccontextmanager
async def plain(service: Target) -> AsyncIterator[Raw]:
    """Open a TCP connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    try:
        yield Raw(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def upgraded(service: Target) -> AsyncIterator[Raw]:
    """Open a WebSocket, without Hello."""
    async with plain(service) as raw:
        await raw.send(upgrade(f"127.0.0.1:{service.port}"))
        status, headers = await raw.response()
        assert status == 101
        assert "sec-websocket-extensions" not in headers
        yield raw


@contextlib.asynccontextmanager
async def greeted(service: Target, **fields: Any) -> AsyncIterator[Raw]:
    """Open a WebSocket, and exchange Hello and Welcome."""
    async with upgraded(service) as raw:
        await raw.send(frame(hello(service.token, **fields)))
        assert (await raw.answer()).WhichOneof("payload") == "welcome"
        yield raw


async def refused(
    service: Target,
    headers: Sequence[tuple[str, str]] = (),
    path: str = "/ws",
    *,
    named: bool = True,
) -> int:
    """Request a WebSocket and return the status of the response; 101: it was granted."""
    async with plain(service) as raw:
        await raw.send(upgrade(f"127.0.0.1:{service.port}", headers, path, named=named))
        return (await raw.response())[0]


async def still_serves(service: ServiceProcess) -> None:
    """Check that a well-behaved client gets a reply."""
    async with service.connect() as client:
        reply = await client.reply(await client.conversation(), "still here")
        assert reply[-1].WhichOneof("payload") == "completed"


def memory_of(service: ServiceProcess) -> int:
    """Return the resident memory of the service in bytes."""
    size: int = psutil.Process(service.process.pid).memory_info().rss
    return size


def open_files(service: ServiceProcess) -> int:
    """Return the number of file descriptors that the service has open."""
    count: int = psutil.Process(service.process.pid).num_fds()
    return count
